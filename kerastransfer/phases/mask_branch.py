"""The phase that adds a mask branch to a detector, which predicts a mask in each of its boxes."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kerastransfer import detectors
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive, some
from kerastransfer.phases import detector as detector_phase
from kerastransfer.phases.detector import DetectorConfig
from kerastransfer.runs import fitting, outcome, trained
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass
class MaskConfig(DetectorConfig):
    """The flags of all recipes that train a mask branch, on a detector that they train first."""

    model: str = "yolov3-tiny"
    """The detector's net: yolov3-tiny, yolov3-small, yolov3 or yolov3-spp."""

    mask_epochs: int = 60
    """Number of epochs to train the mask branch for, with the detector frozen."""
    together: bool = False
    """Train the detector and the mask branch together from the start, for --detector-epochs at --learning-rate, instead
    of the branch alone behind the frozen detector; --mask-epochs and --mask-learning-rate then do not apply."""
    mask_weight: float = 2.0
    """Weight of the masks' loss when the detector and the branch are trained together; a term of the boxes' loss has
    weight 1 or 2, and all are means over the objects of a batch."""
    mask_learning_rate: float = 1e-3
    """Peak learning rate of the mask branch, reached after the warm-up."""
    mask_size: Literal[28, 14, 7] = 28
    """Side of a predicted mask; YOLO-Mask (section 4) uses 7."""
    mask_filters: int = 256
    """Number of filters in each layer of the branch: 256 as in Mask R-CNN (He et al. 2017); 32 suits two CPU cores and
    phones."""
    mask_convs: int = 4
    """Number of 3 x 3 convolutions before the resolution of the mask is doubled."""
    mask_level: Literal["scale", "fpn"] = "scale"
    """The feature map from which a box is pooled: that of the grid that found it (`scale`, YOLO-Mask, section 3.4), or
    one chosen by the area of the box (`fpn`, Lin et al. 2017)."""
    fine: tuple[Literal["c1", "c2", "c3", "c4"], ...] = ()
    """Taps of the encoder from which every box is pooled as well; they are finer than the detector's maps."""
    class_agnostic: bool = False
    """Predict a single mask per box, whatever its class, instead of one for each class."""
    proposals: int = 50
    """Number of detections in a training image; the branch learns from those that overlap an object, and from the
    objects themselves."""
    end_to_end_epochs: int = 0
    """Number of epochs to then train the detector and the mask branch together; 0 does not."""
    end_to_end_learning_rate: float = 3e-4
    """Peak learning rate of the end-to-end training."""
    detections: int = 100
    """Largest number of boxes in an image that get a mask, in scoring and in exported files; inference time grows with
    it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if detectors.FAMILY[self.model] != "yolov3":
            raise UserError(
                f"--model {self.model} does not work with the mask branch; choose a YOLOv3 net, such as yolov3-tiny"
            )
        require_positive(
            self,
            *(
                "mask_epochs",
                "mask_learning_rate",
                "mask_weight",
                "mask_filters",
                "mask_convs",
                "detections",
                "proposals",
            ),
            "end_to_end_learning_rate",
        )
        if self.end_to_end_epochs < 0:
            raise UserError(f"--end-to-end-epochs is {self.end_to_end_epochs}; it must be at least 0")


def mask_branch(
    name: str,
    path: str | Path,
    config: MaskConfig,
    run: RunFolder,
    data: Data,
    result: outcome.Outcome,
) -> None:
    """Train models/NAME.keras, a mask branch on a frozen detector; score it and export it. With --end-to-end-epochs,
    then train both together.

    path: the detector's .keras file, or the name of published weights.
    """
    train, test = data.parts["masks"]
    labels = read_detector(path, data.dataset.classes, config)[1].labels

    def trained_frozen() -> dict:
        return frozen(name, path, config, run, data)

    report = fitting.phase(config, run, name, trained_frozen)
    run.write_transfer(name, report)
    if moved := [weight for part in report.values() if isinstance(part, dict) for weight in part["moved"]]:
        raise RuntimeError(f"{name}: the detector was frozen, but {moved[:3]} changed")
    result.score(name, "instances", test)
    result.export(name, train, test)
    if config.end_to_end_epochs:
        both = f"{name}_end_to_end"

        def trained_end_to_end() -> dict:
            from kerastransfer.training import strategy

            with strategy.scope(config.strategy):
                detector, about = read_detector(path, data.dataset.classes, config)
                parts = _built(detector, about.decoder, about.labels, config)
                parts.network.load_weights(run.models / f"{name}.weights.h5")
                epochs, rate = config.end_to_end_epochs, config.end_to_end_learning_rate
                _fit_both(parts, both, epochs, rate, config, run, data)
            _keep(both, parts, labels, config, run)
            return {}

        fitting.phase(config, run, both, trained_end_to_end)
        result.score(both, "instances", test)
        result.export(both, train, test)


def together(name: str, config: MaskConfig, run: RunFolder, data: Data, result: outcome.Outcome) -> None:
    """Train a detector and its mask branch together from the start: models/yolov3.keras and models/NAME.keras. Score
    and export both."""
    boxes, (train, test) = data.parts["boxes"], data.parts["masks"]
    built = detector_phase.build(config, boxes[0])

    def work() -> dict:
        from kerastransfer.training import strategy

        with strategy.scope(config.strategy):
            detector, report = detector_phase.begun(built, config)
            parts = _built(detector, built.codec, data.dataset.classes, config)
            rates = detector_phase.rates(detector, built, config)
            _fit_both(parts, name, config.detector_epochs, config.learning_rate, config, run, data, rates=rates)
        detector_phase.keep("yolov3", detector, built, config, run, data)
        _keep(name, parts, data.dataset.classes, config, run)
        return report()

    if report := fitting.phase(config, run, name, work):
        run.write_transfer(name, report)
    result.score("yolov3", "detection", boxes[1])
    result.export("yolov3", *boxes)
    result.score(name, "instances", test)
    result.export(name, train, test)


def frozen(name: str, path: str | Path, config: MaskConfig, run: RunFolder, data: Data) -> dict:
    """Train the branch with the detector frozen. Returns which weights of the detector changed (none should)."""
    from kerastransfer.models.parts import freeze
    from kerastransfer.models.yolo_mask import DETECTOR
    from kerastransfer.training import strategy, transfer

    with strategy.scope(config.strategy):
        detector, about = read_detector(path, data.dataset.classes, config)
        parts = _built(detector, about.decoder, about.labels, config)
        kept = {part: parts.network.get_layer(part) for part in DETECTOR}
        for part in kept.values():
            freeze(part)
        before = {part: transfer.weights(layer) for part, layer in kept.items()}
        objective = fitting.Objective(
            parts.graph,
            _mask_terms,
            {"mask": 1.0},
            fields=("boxes", "masks"),
            epochs=config.mask_epochs,
            learning_rate=config.mask_learning_rate,
        )
        _fit(objective, name, parts, config, run, data)
    _keep(name, parts, about.labels, config, run)
    after = {part: transfer.weights(layer) for part, layer in kept.items()}
    return {"source": str(path), **{part: transfer.compared(before[part], after[part]) for part in kept}}


def read_detector(path: str | Path, classes: tuple[str, ...], config: MaskConfig) -> "tuple[keras.Model, About]":
    """The detector for the mask branch, and its `About`. Raises UserError for another kind of model, for other images
    than those of `config`, and for other classes; with --class-agnostic, it only needs to know those of the data."""
    from kerastransfer.codecs.yolov3 import YoloV3Codec

    network, about = trained.detector(path)
    if not isinstance(about.decoder, YoloV3Codec):
        raise UserError(
            f"{path} is not a YOLOv3 detector; give RUN/models/yolov3.keras, which the recipe detector writes"
        )
    if unknown := [name for name in classes if name not in about.labels]:
        raise UserError(
            f"{path} was trained on {some(about.labels)}, but the data has {some(unknown)}; start from it and train "
            "it on these, with --start instead of --detector"
        )
    if about.labels != tuple(classes) and (config.end_to_end_epochs or not config.class_agnostic):
        cure = "leave out --end-to-end-epochs" if config.class_agnostic else "add --class-agnostic"
        raise UserError(
            f"{path} was trained on {some(about.labels)}, but the data has {some(classes)}; {cure}, or start from it "
            "with --start instead of --detector"
        )
    if not trained.is_name(path) and about.image_size != (config.image_size, config.image_size):
        height, width = about.image_size
        raise UserError(f"{path} takes images of {height} x {width} pixels; give --image-size {height}")
    if about.resize != config.resize:
        raise UserError(f"{path} was trained with --resize {about.resize}; give that here too")
    return network, about


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The network, the graph that trains it, and the decoder for its outputs."""

    network: "keras.Model"
    graph: "keras.Model"
    decoder: Any


def _built(detector, codec, labels, config) -> _Parts:
    """A detector with a new mask branch."""
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.masked_boxes import MaskedBoxes
    from kerastransfer.models import yolo_mask

    masks = MaskCodec(mask_size=config.mask_size, level=config.mask_level)
    network = yolo_mask.yolo_mask(
        detector,
        1 if config.class_agnostic else len(labels),
        fine=config.fine,
        filters=config.mask_filters,
        convs=config.mask_convs,
        mask_size=config.mask_size,
        activation=config.net.activation,
    )
    graph = yolo_mask.trainer(network, codec, masks, proposals=config.proposals)
    return _Parts(network, graph, MaskedBoxes(codec, masks, config.detections))


def _mask_terms(_, predictions):
    from kerastransfer.losses.mask import mask_loss

    return mask_loss(predictions, predictions["masks"])


def _fit_both(parts, phase, epochs, learning_rate, config, run, data, rates=None):
    """Train the detector and its branch together, on means over the objects of a batch."""
    from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss

    of_boxes = yolov3_loss(parts.decoder.codec, config.net.loss, ignore=config.net.ignore, means=True)

    def of_both(targets, predictions):
        return {**of_boxes(targets, predictions), **_mask_terms(targets, predictions)}

    objective = fitting.Objective(
        parts.graph,
        of_both,
        {**WEIGHTS[config.net.loss], "mask": config.mask_weight},
        fields=("boxes", "masks"),
        epochs=epochs,
        learning_rate=learning_rate,
        mosaic=config.mosaic,
        rates=rates or {},
    )
    _fit(objective, phase, parts, config, run, data)


def _fit(objective, phase, parts, config, run, data):
    from kerastransfer.data import views

    stride = max(stride for _, stride, _ in parts.decoder.codec.levels)
    sides = fitting.sides(config.image_size, stride) if config.multi_scale else ()
    objective = dataclasses.replace(objective, view=views.annotated, sides=sides)
    fitting.fit(objective, data.parts["masks"][0], config, run, phase)


def _keep(name, parts, labels, config, run):
    if run.leads:
        size = (config.image_size, config.image_size)
        outcome.keep(run, name, parts.network, About("instances", tuple(labels), size, config.resize, parts.decoder))

"""The phase that adds a branch to a detector, which draws a mask in each of its boxes."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kerastransfer import detectors
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.phases.detector import DetectorConfig
from kerastransfer.runs import fitting, outcome, trained
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks.about import About

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass
class MaskConfig(DetectorConfig):
    """Flags of every recipe that trains a mask branch, on a detector that it trains first."""

    model: str = "yolov3-tiny"
    """The detector's net: yolov3-tiny, yolov3-small, yolov3 or yolov3-spp."""

    mask_epochs: int = 60
    """Epochs that the mask branch trains for, with the detector frozen."""
    mask_learning_rate: float = 1e-3
    """Peak learning rate of the mask branch, reached after the warm-up."""
    mask_size: Literal[28, 14, 7] = 28
    """Side of a mask; 7 is the choice of the YOLO-Mask paper."""
    mask_filters: int = 256
    """Filters in each layer of the branch: 256 as in Mask R-CNN; 32 suits two cores and phones."""
    mask_convs: int = 4
    """Number of 3 x 3 convolutions before the mask doubles in size."""
    mask_level: Literal["scale", "fpn"] = "scale"
    """The map that a box is pooled from: that of the grid which found it (`scale`, as in the YOLO-Mask paper), or
    chosen by the area of the box (`fpn`, as in feature pyramids)."""
    fine: tuple[Literal["c1", "c2", "c3", "c4"], ...] = ()
    """Taps of the encoder that every box is pooled from as well; they are finer than the detector's maps."""
    class_agnostic: bool = False
    """Predict one mask per box, whatever its class, instead of one for each class."""
    proposals: int = 50
    """Detections in a training image; the branch learns from those that overlap an object, and from the objects."""
    end_to_end_epochs: int = 0
    """Epochs in which detector and mask branch are trained together, after the mask branch."""
    end_to_end_learning_rate: float = 3e-4
    """Peak learning rate when both are trained together."""
    detections: int = 100
    """Boxes per image that get a mask, in scores and in exported files; their time grows with it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if detectors.FAMILY[self.model] != "yolov3":
            raise UserError(
                f"--model {self.model}: the mask branch needs a net of YOLOv3's family, such as yolov3-tiny"
            )
        require_positive(
            self,
            *("mask_epochs", "mask_learning_rate", "mask_filters", "mask_convs", "detections", "proposals"),
            "end_to_end_learning_rate",
        )
        if self.end_to_end_epochs < 0:
            raise UserError(f"--end-to-end-epochs is {self.end_to_end_epochs}; it must be at least 0")


def mask_branch(
    name: str,
    path: Path,
    config: MaskConfig,
    run: RunFolder,
    data: Data,
    result: outcome.Outcome,
) -> None:
    """Train models/NAME.keras: a mask branch on the detector in `path`, score it and export it."""
    train, test = data.parts["masks"]
    read_detector(path, data.dataset.classes, config)

    def trained_frozen() -> dict:
        return frozen(name, path, config, run, data)

    report = fitting.phase(config, run, name, trained_frozen)
    run.write_transfer(name, report)
    if moved := [weight for part in report.values() if isinstance(part, dict) for weight in part["moved"]]:
        raise RuntimeError(f"{name}: the detector was frozen, but {moved[:3]} moved")
    result.score(name, "instances", test)
    result.export(name, train, test)
    if config.end_to_end_epochs:
        both = f"{name}_end_to_end"

        def trained_together() -> dict:
            return together(both, name, path, config, run, data)

        fitting.phase(config, run, both, trained_together)
        result.score(both, "instances", test)
        result.export(both, train, test)


def frozen(name: str, path: Path, config: MaskConfig, run: RunFolder, data: Data) -> dict:
    """Train the branch with the detector frozen; returns what happened to the detector's parts."""
    from kerastransfer.models.parts import freeze
    from kerastransfer.models.yolo_mask import DETECTOR
    from kerastransfer.training import strategy, transfer

    with strategy.scope(config.strategy):
        network, graph, decoder = _built(path, config, data)
        parts = {part: network.get_layer(part) for part in DETECTOR}
        for part in parts.values():
            freeze(part)
        before = {part: transfer.weights(layer) for part, layer in parts.items()}
        _fit(
            graph,
            decoder,
            _mask_terms,
            {"mask": 1.0},
            name,
            config.mask_epochs,
            config.mask_learning_rate,
            config,
            run,
            data,
        )
    _keep(name, network, decoder, config, run, data)
    after = {part: transfer.weights(layer) for part, layer in parts.items()}
    return {"source": str(path), **{part: transfer.compared(before[part], after[part]) for part in parts}}


def together(name: str, start: str, path: Path, config: MaskConfig, run: RunFolder, data: Data) -> dict:
    """Train detector and branch together, from the weights of models/START."""
    from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss
    from kerastransfer.training import strategy

    def of_both(targets, predictions):
        return {**of_boxes(targets, predictions), **_mask_terms(targets, predictions)}

    with strategy.scope(config.strategy):
        network, graph, decoder = _built(path, config, data)
        of_boxes = yolov3_loss(decoder.codec, config.net.loss, ignore=config.net.ignore)
        network.load_weights(run.models / f"{start}.weights.h5")
        # The detector's terms are sums over the candidates of an image, the mask's is a mean.
        weights = {**WEIGHTS[config.net.loss], "mask": 10.0}
        rate = config.end_to_end_learning_rate
        _fit(
            graph,
            decoder,
            of_both,
            weights,
            name,
            config.end_to_end_epochs,
            rate,
            config,
            run,
            data,
            mosaic=config.mosaic,
        )
    _keep(name, network, decoder, config, run, data)
    return {}


def read_detector(path: Path, classes: tuple[str, ...], config: MaskConfig) -> "tuple[keras.Model, About]":
    """The detector of the mask branch. Raises UserError for another model, and for other classes or another size."""
    from kerastransfer.codecs.yolov3 import YoloV3Codec

    network, about = trained.stored(path)
    if not isinstance(about.decoder, YoloV3Codec):
        raise UserError(
            f"{path} is not a YOLOv3 detector; give RUN/models/yolov3.keras, which the recipe detector writes"
        )
    if about.labels != tuple(classes):
        raise UserError(
            f"{path} was trained on {', '.join(about.labels)} and the data has {', '.join(classes)}; train it on these"
        )
    if about.image_size != (config.image_size, config.image_size):
        height, width = about.image_size
        raise UserError(f"{path} reads {height} x {width} pixels; give --image-size {height}")
    if about.resize != config.resize:
        raise UserError(f"{path} was trained with --resize {about.resize}; give it here too")
    return network, about


def _built(path, config, data):
    """(network, graph that trains it, decoder of its outputs)."""
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.masked_boxes import MaskedBoxes
    from kerastransfer.models import yolo_mask

    classes = data.dataset.classes
    detector, about = read_detector(path, classes, config)
    masks = MaskCodec(mask_size=config.mask_size, level=config.mask_level)
    network = yolo_mask.yolo_mask(
        detector,
        1 if config.class_agnostic else len(classes),
        fine=config.fine,
        filters=config.mask_filters,
        convs=config.mask_convs,
        mask_size=config.mask_size,
        activation=config.net.activation,
    )
    graph = yolo_mask.trainer(network, about.decoder, masks, proposals=config.proposals)
    return network, graph, MaskedBoxes(about.decoder, masks, config.detections)


def _mask_terms(_, predictions):
    from kerastransfer.losses.mask import mask_loss

    return mask_loss(predictions, predictions["masks"])


def _fit(graph, decoder, terms, weights, phase, epochs, learning_rate, config, run, data, mosaic=0.0):
    from kerastransfer.data import views

    stride = max(stride for _, stride, _ in decoder.codec.levels)
    objective = fitting.Objective(
        graph,
        terms,
        weights,
        fields=("boxes", "masks"),
        epochs=epochs,
        learning_rate=learning_rate,
        view=views.annotated,
        mosaic=mosaic,
        sides=fitting.sides(config.image_size, stride) if config.multi_scale else (),
    )
    fitting.fit(objective, data.parts["masks"][0], config, run, phase)


def _keep(name, network, decoder, config, run, data):
    if run.leads:
        size = (config.image_size, config.image_size)
        outcome.keep(run, name, network, About("instances", data.dataset.classes, size, config.resize, decoder))

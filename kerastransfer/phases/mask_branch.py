"""The phase that adds a mask branch to a detector, which predicts a mask in each of its boxes."""

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
    """The flags of all recipes that train a mask branch, on a detector that they train first."""

    model: str = "yolov3-tiny"
    """The detector's net: yolov3-tiny, yolov3-small, yolov3 or yolov3-spp."""

    mask_epochs: int = 60
    """Number of epochs to train the mask branch for, with the detector frozen."""
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
    """Train models/NAME.keras, a mask branch on the detector in the file `path`; score it and export it."""
    train, test = data.parts["masks"]
    read_detector(path, data.dataset.classes, config)

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

        def trained_together() -> dict:
            return together(both, name, path, config, run, data)

        fitting.phase(config, run, both, trained_together)
        result.score(both, "instances", test)
        result.export(both, train, test)


def frozen(name: str, path: Path, config: MaskConfig, run: RunFolder, data: Data) -> dict:
    """Train the branch with the detector frozen. Returns which weights of the detector changed (none should)."""
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
    """Train the detector and the branch together, starting from the weights in models/START.weights.h5."""
    from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss
    from kerastransfer.training import strategy

    def of_both(targets, predictions):
        return {**of_boxes(targets, predictions), **_mask_terms(targets, predictions)}

    with strategy.scope(config.strategy):
        network, graph, decoder = _built(path, config, data)
        of_boxes = yolov3_loss(decoder.codec, config.net.loss, ignore=config.net.ignore)
        network.load_weights(run.models / f"{start}.weights.h5")
        # The terms of the detector are sums over the candidates of an image, but the mask term is a mean.
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
    """The detector for the mask branch, and its `About`. Raises UserError for another kind of model, other classes, or
    other images than those of `config`."""
    from kerastransfer.codecs.yolov3 import YoloV3Codec

    network, about = trained.stored(path)
    if not isinstance(about.decoder, YoloV3Codec):
        raise UserError(
            f"{path} is not a YOLOv3 detector; give RUN/models/yolov3.keras, which the recipe detector writes"
        )
    if about.labels != tuple(classes):
        raise UserError(
            f"{path} was trained on {', '.join(about.labels)}, but the data has {', '.join(classes)}; train it on these"
        )
    if about.image_size != (config.image_size, config.image_size):
        height, width = about.image_size
        raise UserError(f"{path} takes images of {height} x {width} pixels; give --image-size {height}")
    if about.resize != config.resize:
        raise UserError(f"{path} was trained with --resize {about.resize}; give that here too")
    return network, about


def _built(path, config, data):
    """(network, graph that trains it, decoder for its outputs)."""
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

"""What a family of detectors builds, and what it is built for."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kerastransfer.errors import UserError

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset
    from kerastransfer.models.reading import Reading

# The parts that `Purpose.start` gives its weights, and the head of which it gives what fits.
STARTED = ("encoder", "decoder")
# {class of a codec: its family, a --model of it that can start from it}; by name, because codecs import Keras.
FAMILIES = {
    "YoloV1Codec": ("YOLOv1", "small"),
    "YoloV3Codec": ("YOLOv3", "yolov3-tiny"),
    "AnchorCodec": ("RetinaNet", "retinanet"),
    "FcosCodec": ("FCOS", "fcos"),
    "FasterRcnnCodec": ("Faster R-CNN", "faster_rcnn"),
    "MaskedBoxes": ("Mask R-CNN", "mask_rcnn"),
}


@dataclasses.dataclass(frozen=True)
class Detector:
    """A detector that can be built and trained.

    build: a function that makes the network, from image to raw predictions, with the parts encoder, decoder and head.
    codec: converts raw predictions to annotations and back.
    terms, weights: those of its loss (`training.terms.TermModel`).
    stride: the largest stride of the network, in pixels.
    reading: where training reads annotations, a function from the network to a `models.reading.Reading`, which gives
        what the terms read; or None, where they read what the network gives.
    task: "detection", or "instances" where it learns from masks and predicts them.
    loaded: names of the parts that `build` gives trained weights.
    fresh: names of the classes that start at random where the weights of `Purpose.start` were loaded; None if they were
        not, because there is no start or because the family cannot begin from one.
    """

    build: "Callable[[], keras.Model]"
    codec: Any
    terms: Callable
    weights: Mapping[str, Any]
    stride: int
    loaded: tuple[str, ...] = ()
    reading: "Callable[[keras.Model], Reading] | None" = None
    task: str = "detection"
    fresh: tuple[str, ...] | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """What the training images must be annotated with."""
        return ("boxes", "masks") if self.task == "instances" else ("boxes",)

    def trained(self, network: "keras.Model") -> "keras.Model":
        """The graph over the parts of a network of `build` that is trained."""
        if self.reading is None:
            return network
        from kerastransfer.models import reading

        return reading.trainer(network, self.reading(network), self.fields)


@dataclasses.dataclass(frozen=True)
class Start:
    """A trained detector whose weights another one starts from.

    source: its file or name, for messages. network: a function that makes it, with its weights. codec, labels,
    image_size: its codec, the names of its classes, and (H, W) in pixels.
    """

    source: str
    network: "Callable[[], keras.Model]"
    codec: Any
    labels: tuple[str, ...]
    image_size: tuple[int, int]

    def refuse(self, settings: Any, *names: str) -> None:
        """Raises UserError for a setting that is not its default and would not apply."""
        default = type(settings)()
        for name in names:
            if getattr(settings, name) != getattr(default, name):
                option = name.replace("_", "-")
                raise UserError(
                    f"--net.{option} does not apply to --start {self.source}, whose net is used; leave it out"
                )

    def require(self, kind: type, settings: Any) -> None:
        """Raises UserError unless it has a codec of this class. settings: those of the family that is to start."""
        if isinstance(self.codec, kind):
            return
        names = (kind.__name__, type(self.codec).__name__)
        # A family that was added may not be in the table.
        (wanted, _), (family, model) = (FAMILIES.get(name, (name, "")) for name in names)
        fits = "nothing of it fits"
        if hasattr(settings, "encoder"):
            fits = f"its decoder and head do not fit, but its encoder may (--net.encoder {self.source})"
        remedy = f"; to go on from all of it, choose its family (--model {model})" if model else ""
        raise UserError(f"--start {self.source} is of the family {family}, not {wanted}: {fits}{remedy}")

    def fresh(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """The classes that it does not know."""
        return tuple(name for name in classes if name not in self.labels)


@dataclasses.dataclass(frozen=True)
class Purpose:
    """What a detector is built for.

    classes: their names. image_size: side of the square input, in pixels.
    train: the training images, to which anchors may be fitted, or None. resize: how images are resized, "stretch" or
        "letterbox". seed: seed for fitting anchors.
    start: the detector to start from, or None.
    encoder: a function that opens an encoder by its file or name, for families that take any.
    """

    classes: tuple[str, ...]
    image_size: int
    train: "Dataset | None"
    resize: str = "stretch"
    seed: int = 0
    start: Start | None = None
    encoder: "Callable[[str], keras.Model] | None" = None

    def in_policy(self, source: str) -> "keras.Model":
        """The encoder of a file or name, computing in the current dtype policy."""
        import keras

        from kerastransfer.models.rewrite import with_policy

        return with_policy(self.encoder(source), keras.mixed_precision.global_policy().name)


def require_multiple(image_size: int, stride: int, of: str) -> None:
    """Raises UserError unless --image-size is a multiple of `stride`, the largest stride of the net called `of`."""
    if image_size % stride:
        near = max(stride, round(image_size / stride) * stride)
        raise UserError(
            f"--image-size {image_size} is not a multiple of {stride}, the largest stride of {of}; try {near}"
        )

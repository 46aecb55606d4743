"""What a family of detectors builds, and what it is built for."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kerastransfer.errors import UserError

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Detector:
    """A detector that can be built and trained.

    build: a function that makes the network, from image to raw predictions, with the parts encoder, decoder and head.
    codec: converts raw predictions to annotations and back.
    terms, weights: those of its loss (`training.terms.TermModel`).
    stride: the largest stride of the network, in pixels.
    """

    build: "Callable[[], keras.Model]"
    codec: Any
    terms: Callable
    weights: Mapping[str, Any]
    stride: int


@dataclasses.dataclass(frozen=True)
class Purpose:
    """What a detector is built for.

    classes: their number. image_size: side of the square input, in pixels.
    train: the training images, to which anchors may be fitted. resize: how images are resized, "stretch" or
        "letterbox". seed: seed for fitting anchors.
    """

    classes: int
    image_size: int
    train: "Dataset"
    resize: str = "stretch"
    seed: int = 0


def require_multiple(image_size: int, stride: int, of: str) -> None:
    """Raises UserError unless --image-size is a multiple of `stride`, the largest stride of the net called `of`."""
    if image_size % stride:
        near = max(stride, round(image_size / stride) * stride)
        raise UserError(
            f"--image-size {image_size} is not a multiple of {stride}, the largest stride of {of}; try {near}"
        )

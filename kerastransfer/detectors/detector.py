"""What a family of detectors builds."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kerastransfer.errors import UserError

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Detector:
    """build: makes the network, image to raw predictions, with the parts encoder, decoder and head. codec: turns raw
    predictions into annotations and back. terms, weights: of its loss (`training.terms.TermModel`). stride: the largest
    of the network's, in pixels."""

    build: "Callable[[], keras.Model]"
    codec: Any
    terms: Callable
    weights: Mapping[str, Any]
    stride: int


@dataclasses.dataclass(frozen=True)
class Purpose:
    """What a detector is built for: the number of classes, the side of its square input in pixels, the training images
    that anchors may be fitted to, how these are resized, and the seed."""

    classes: int
    image_size: int
    train: "Dataset"
    resize: str = "stretch"
    seed: int = 0


def require_multiple(image_size: int, stride: int, of: str) -> None:
    """Raises UserError unless --image-size fits the largest stride of `of`, a net."""
    if image_size % stride:
        near = max(stride, round(image_size / stride) * stride)
        raise UserError(
            f"--image-size {image_size} is not a multiple of {stride}, the largest stride of {of}; try {near}"
        )

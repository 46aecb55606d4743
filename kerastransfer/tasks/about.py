"""What a trained model is for, and how it takes an image."""

import dataclasses
from typing import Any

import numpy as np

import kerastransfer
from kerastransfer.data.letterbox import RESIZES
from kerastransfer.errors import UserError


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Which boxes of a detector are reported.

    score: lowest score. iou: a box that overlaps a better one of its class by more than this IoU is suppressed.
    detections: largest number of boxes, of which the best are kept.
    Raises UserError for a value out of range.
    """

    score: float = 0.25
    iou: float = 0.5
    detections: int = 100

    def __post_init__(self) -> None:
        for name, what in (("score", "a score"), ("iou", "an IoU")):
            value = getattr(self, name)
            # NaN lies in no range.
            if not isinstance(value, int | float | np.integer | np.floating) or not 0 <= value <= 1:
                raise UserError(f"{name} is {value!r}; give {what} from 0 to 1")
        if not isinstance(self.detections, int | np.integer) or self.detections < 1:
            raise UserError(f"detections is {self.detections!r}; give a whole number above 0")


@dataclasses.dataclass(frozen=True)
class About:
    """The description of a trained model.

    task: a name in `tasks.TASKS`.
    labels: names of the K classes ("background" first for segmentation).
    image_size: (H, W) of the images that the model takes.
    resize: how an image is brought to that size, "stretch" or "letterbox" (`data.letterbox`); boxes are then fractions
        of the letterboxed image, and maps cover it.
    decoder: converts the raw predictions of the network to annotations: a codec, `codecs.masked_boxes.MaskedBoxes` for
        instances, or None if the outputs need no decoding. It is stored in NAME.json; the graph of an exported file
        contains it.
    thresholds: defaults for a detector.
    kind: "float32", "float16" or "int8", for an exported file.
    """

    task: str
    labels: tuple[str, ...]
    image_size: tuple[int, int]
    resize: str = "stretch"
    decoder: Any = None
    thresholds: Thresholds = Thresholds()
    kind: str = "float32"
    version: str = kerastransfer.__version__

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise ValueError(f"unknown resize {self.resize!r}; choose from {RESIZES}")

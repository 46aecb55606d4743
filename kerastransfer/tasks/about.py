"""What a trained model is for, and how it reads an image."""

import dataclasses
from typing import Any

import kerastransfer
from kerastransfer.data.letterbox import RESIZES


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Which of a detector's boxes are reported: those that score at least `score`, less those that overlap a better one
    of their class by more than `iou` (non-maximum suppression), and of the rest the best `detections`."""

    score: float = 0.25
    iou: float = 0.5
    detections: int = 100


@dataclasses.dataclass(frozen=True)
class About:
    """task: a name in `tasks.TASKS`. labels: names of the K classes ("background" first for segmentation). image_size:
    (H, W) that the model reads. resize: how an image gets to that size, "stretch" or "letterbox" (`data.letterbox`);
    boxes are then fractions of the letterboxed picture, and maps cover it.

    decoder: what turns the network's raw predictions into annotations: a codec, `codecs.mask.MaskedBoxes` for
    instances, None where the network's output needs none. Kept in NAME.json; an exported file has it in its graph.
    thresholds: defaults of a detector's predictor. kind: "float32", "float16" or "int8", of an exported file.
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
            raise ValueError(f"resize {self.resize!r}: choose from {RESIZES}")

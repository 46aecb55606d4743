"""Dense maps of a trained detector over a data set, and the classes for which boxes can stand in."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer.codecs.votes import threshold_by_boxes
from kerastransfer.data.dataset import Dataset
from kerastransfer.errors import UserError
from kerastransfer.runs import trained

if TYPE_CHECKING:
    from kerastransfer.analysis.dense_predictor import DenseMaps, DensePredictor

KINDS = ("objectness", "votes")


@dataclasses.dataclass(frozen=True)
class Classes:
    """names: those of the segmentation, background first. merge: the detector's classes count as the only one."""

    names: tuple[str, ...]
    merge: bool

    def boxes(self, example: dict[str, np.ndarray], k: int) -> np.ndarray:
        """The boxes of an example that are of the k-th foreground class (of any, when merged)."""
        return example["boxes"] if self.merge else example["boxes"][example["labels"] == k]


def classes_of(dataset: Dataset, labels: Sequence[str]) -> Classes:
    """How the segmentation of a data set names what a detector with these labels finds. Raises UserError."""
    names = dataset.segmentation_classes
    if tuple(labels) == names[1:]:
        return Classes(names, merge=False)
    if len(names) == 2:
        return Classes(names, merge=True)
    raise UserError(
        f"the masks of {dataset.name} have the classes {', '.join(names[1:])}, the boxes {', '.join(labels)}: boxes "
        "can stand for masks of the same classes, or of a single one"
    )


def read_detector(path: str | Path) -> tuple[Any, Any, Any]:
    """Network, metadata and codec in NAME.keras. Raises UserError for a model that is no detector."""
    found = trained.read(path)
    network, metadata, codec = found.network, found.metadata, found.codec
    if codec is None:
        raise UserError(f"{path} is a segmenter; dense maps need a detector, such as RUN/models/yolov1.keras")
    if type(codec).__name__ != "YoloV1Codec":
        raise UserError(
            f"{path} is a detector of several grids; dense maps read the one of YOLOv1: RUN/models/yolov1.keras"
        )
    if metadata.resize != "stretch":
        raise UserError(f"{path} was trained with --resize {metadata.resize}; dense maps need one of stretched images")
    return network, metadata, codec


def open_maps(path: str | Path, output_stride: int, *, dilate: bool, merge: bool, tile: int = 0) -> "DensePredictor":
    """The detector in NAME.keras, ready for dense maps. Raises UserError for another model or an impossible stride."""
    network, metadata, codec = read_detector(path)
    from kerastransfer.analysis.dense_predictor import DensePredictor
    from kerastransfer.encoders.yolov1 import tap_strides
    from kerastransfer.models.dense import Vote, dense

    try:
        rebuilt = dense(network, output_stride, dilate=dilate)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    stride = tap_strides(network.get_layer("encoder"))["c5"]
    return DensePredictor(rebuilt, Vote(codec, output_stride, stride, metadata.image_size, merge, name="vote"), tile)


def thresholds(
    predictor: "DensePredictor", dataset: Dataset, classes: Classes, progress: Callable[[Iterable], Iterable] = iter
) -> dict[str, list[float]]:
    """{"objectness", "votes": a threshold for each class}, chosen by the boxes of the data set and nothing else."""
    examples = [sample.read() for sample in dataset.samples]
    maps: list[DenseMaps] = [predictor.maps(example["image"]) for example in progress(examples)]
    chosen: dict[str, Any] = {}
    for kind in KINDS:
        found = [getattr(one, kind) for one in maps]
        chosen[kind] = [
            threshold_by_boxes([values[..., k] for values in found], [classes.boxes(e, k) for e in examples])
            for k in range(len(classes.names) - 1)
        ]
    return chosen

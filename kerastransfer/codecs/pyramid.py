"""The raw maps of heads on a feature pyramid: LEVEL_classes (B, h, w, A * K), LEVEL_boxes (B, h, w, A * 4), ..."""

from collections.abc import Mapping, Sequence

import numpy as np
from keras import ops

Levels = Sequence[tuple[str, int]]


def grids(levels: Levels, predictions: Mapping) -> list[tuple]:
    """(rows, columns) of the maps of each level, (name, stride)."""
    maps = [predictions[f"{name}_classes"] for name, _ in levels]
    return [tuple(one.shape[1:3]) if None not in one.shape[1:3] else tuple(ops.shape(one)[1:3]) for one in maps]


def joined(levels: Levels, predictions: Mapping, kind: str, numbers: int):
    """The maps LEVEL_KIND of all levels as (B, A, numbers) float32: level by level, row by row, cell by cell."""
    maps = [predictions[f"{name}_{kind}"] for name, _ in levels]
    rows = [ops.reshape(one, (ops.shape(one)[0], -1, numbers)) for one in maps]
    return ops.cast(ops.concatenate(rows, axis=1), "float32")


def classes_of(layer: str, count: int, num_classes: int) -> np.ndarray:
    """(A, C): which of the `count` outputs of the head's last layer called `layer` are classes of its A anchors; none
    unless it is the layer "classes"."""
    return np.arange(count if layer == "classes" else 0).reshape(-1, num_classes)

"""Anchors: boxes of a few shapes at every place of several maps (Faster R-CNN, Ren et al. 2015; RetinaNet, Lin et al.
2017)."""

import math
from collections.abc import Sequence

from keras import ops

Shape = tuple[float, float]


def shapes(size: float, scales: Sequence[float] = (1.0,), ratios: Sequence[float] = (0.5, 1.0, 2.0)) -> list[Shape]:
    """(height, width) of anchors of the area (size * scale) ** 2, for each scale and, in it, each ratio of height to
    width. RetinaNet: a size of 4 strides, and the scales 1, 2 ** (1 / 3) and 2 ** (2 / 3)."""
    return [(size * scale * math.sqrt(r), size * scale / math.sqrt(r)) for scale in scales for r in ratios]


def rounded_shapes(
    stride: int, size: float = 4.0, scales: Sequence[float] = (1.0,), ratios: Sequence[float] = (0.5, 1.0, 2.0)
) -> list[Shape]:
    """The same for a size of `size` strides, as Detectron makes them: a side of a box of stride x stride pixels is
    rounded to whole pixels first, and then enlarged. With stride 8 and ratio 0.5: 24 x 44 pixels."""
    found = []
    for scale in scales:
        for ratio in ratios:
            width = round(math.sqrt(stride**2 / ratio))
            found.append((round(width * ratio) * size * scale, width * size * scale))
    return found


def anchors(grids: Sequence[tuple], strides: Sequence[int], shapes: Sequence[Sequence[Shape]]):
    """Boxes (A, (y1, x1, y2, x2)) in pixels around the middles of the cells, not clipped: level by level, row by row,
    cell by cell, shape by shape.

    grids: (rows, columns) of each level's map, from the maps' shapes. strides: pixels from cell to cell. shapes:
        (height, width) in pixels, for each level as many as its cells have anchors.
    """
    found = []
    for (rows, columns), stride, own in zip(grids, strides, shapes, strict=True):
        y, x = ops.meshgrid(ops.arange(rows), ops.arange(columns), indexing="ij")
        middles = (ops.cast(ops.stack([y, x], axis=-1), "float32") + 0.5) * stride
        middles = ops.reshape(middles, (-1, 1, 2))
        half = ops.reshape(ops.convert_to_tensor(own, "float32"), (1, -1, 2)) / 2
        found.append(ops.reshape(ops.concatenate([middles - half, middles + half], axis=-1), (-1, 4)))
    return ops.concatenate(found)

"""An image in windows of one size, so that a network runs on it piece by piece with the same result."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Span:
    """Along one axis, in pixels: what a window answers for, `start` to `stop`, and where it begins."""

    start: int
    stop: int
    window: int


def spans(side: int, tile: int, halo: int, stride: int = 1) -> tuple[list[Span], int]:
    """Tiles of `tile` pixels along a side, and the length of their windows, which is one and the same.

    A window reaches `halo` pixels beyond its tile on both sides, or to the border of the image: at the border a
    network must meet its own padding. Windows begin at multiples of `stride`, and the last ends with the image.
    Tile and halo are rounded up to multiples of `stride`.
    """
    tile, halo = (-(-pixels // stride) * stride for pixels in (tile, halo))
    length = min(side, tile + 2 * halo + side % stride)
    starts = range(0, side, tile)
    return [Span(s, min(s + tile, side), min(max(0, s - halo), side - length)) for s in starts], length


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The windows of an image (H, W, 3), row by row. A larger `tile` computes less twice and needs more memory."""

    image: np.ndarray
    tile: int
    halo: int
    stride: int = 1

    def __iter__(self) -> Iterator[tuple[Span, Span, np.ndarray]]:
        """The tile's rows, its columns, and its window (1, h, w, 3) float32. tf.data cuts the next one ahead."""
        (rows, height), (columns, width) = (
            spans(side, self.tile, self.halo, self.stride) for side in self.image.shape[:2]
        )
        tiles = [(row, column) for row in rows for column in columns]
        corners = tf.data.Dataset.from_tensor_slices([(row.window, column.window, 0) for row, column in tiles])
        cut = corners.map(lambda corner: tf.cast(tf.slice(self.image, corner, (height, width, 3)), tf.float32))
        for (row, column), window in zip(tiles, cut.batch(1).prefetch(1).as_numpy_iterator(), strict=True):
            yield row, column, window

    def __len__(self) -> int:
        return int(
            np.prod([len(range(0, side, -(-self.tile // self.stride) * self.stride)) for side in self.image.shape[:2]])
        )

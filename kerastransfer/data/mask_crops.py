"""Object masks small enough to train on: each kept once, as a crop over its object's own frame.

Full-size masks of a batch would fill the memory. A crop needs no new pixels when the image is cut, stretched or
mirrored: its frame moves as a box does, and the truth in any other box is looked up in the crop.
"""

import dataclasses

import numpy as np

from kerastransfer.vocabulary import FULL

# The side of a crop: each cell of the largest target, 28 x 28, has 4 x 4 of its pixels in the object's own box.
CROP = 112


def crop(mask: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mask (H, W) bool of an object and its box (y1, x1, y2, x2), fractions of the image, to the crop (CROP, CROP)
    uint8 and the frame it spans, (y1, x1, y2, x2) float32.

    Each cell of the crop holds the share of it that the mask covers, from 0 to FULL: of an object larger than the crop
    this keeps where between two cells the outline runs, and parts thinner than a cell. The frame is the box, widened
    where the mask sticks out of it. For a mask without a pixel, crop and frame are zeros.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((CROP, CROP), np.uint8), np.zeros(4, np.float32)
    size = np.array(mask.shape)
    near = np.minimum(box[:2], np.array([rows[0], columns[0]]) / size).astype(np.float32)
    far = np.maximum(box[2:], np.array([rows[-1] + 1, columns[-1] + 1]) / size).astype(np.float32)
    held = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    down, across = (
        _shares(first, last, pixels)
        for first, last, pixels in zip(near * size, far * size, (rows, columns), strict=True)
    )
    covered = down @ mask[held].astype(np.float32) @ across.T
    return np.round(FULL * covered).astype(np.uint8), np.concatenate([near, far])


def _shares(near, far, pixels):
    """(CROP, P): the share of each cell between `near` and `far` that each pixel from the first to the last covers."""
    edges = np.linspace(near, far, CROP + 1)[:, None]
    pixel = np.arange(pixels[0], pixels[-1] + 1)
    overlap = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    return (np.maximum(overlap, 0) * (CROP / (far - near))).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Rows of different length, read as an array (N, most, ...) in which zeros pad. Padded as a whole, the crops of 52
    images with up to 375 nuclei would take 245 MB, and COCO's more than a disk has; stored, an object takes 12.5 kB.

    values: (T, ...), all rows one after the other, in memory or in a file; starts: (N + 1,), where each begins.
    """

    values: np.ndarray
    starts: np.ndarray
    most: int

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.starts) - 1, self.most, *self.values.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Row numbers (B,) to (B, most, ...)."""
        padded = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        for row, into in zip(rows, padded, strict=True):
            start, end = self.starts[row : row + 2]
            into[: end - start] = self.values[start:end]
        return padded

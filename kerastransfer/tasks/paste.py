"""Pastes the masks that a mask branch predicts in boxes into an image (Mask R-CNN, He et al. 2017, section 3.1)."""

import numpy as np


def paste(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """Convert probabilities (N, M, M) on a grid over boxes (N, (y1, x1, y2, x2)), fractions of an image of `size`
    (H, W), to masks (N, H, W) bool of the image.

    A pixel is in the mask if the probability at its centre is at least `threshold` (above 0). Probabilities are
    interpolated bilinearly between the centres of the grid's cells, and are 0 outside the box. So a mask of ones ends
    at the sides of the box, but cuts its corners by less than half a cell. A box without area has an empty mask.
    """
    if threshold <= 0:
        raise ValueError(f"threshold is {threshold}; it must be above 0, the probability outside a box")
    masks, boxes = np.asarray(masks, np.float32), np.asarray(boxes, np.float64)
    pasted = np.zeros((len(masks), *size), bool)
    for mask, (y1, x1, y2, x2), out in zip(masks, boxes, pasted, strict=True):
        rows, by_row = _lookup(y1 * size[0], y2 * size[0], mask.shape[0], size[0])
        columns, by_column = _lookup(x1 * size[1], x2 * size[1], mask.shape[1], size[1])
        out[rows, columns] = by_row @ mask @ by_column.T >= threshold
    return pasted


def _lookup(near: float, far: float, cells: int, length: int) -> tuple[slice, np.ndarray]:
    """The pixels that a box from `near` to `far` (in pixels) reaches along an axis of `length` pixels, and the weight
    of each of its cells in each of them, (pixels, cells)."""
    if not far > near:
        return slice(0, 0), np.zeros((0, cells), np.float32)
    margin = (far - near) / (2 * cells)
    first, last = np.clip((np.floor(near - margin), np.ceil(far + margin)), 0, length).astype(int)
    centres = np.arange(first, last) + 0.5
    places = (centres - near) * (cells / (far - near)) - 0.5
    weights = np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0)
    return slice(first, last), weights.astype(np.float32)

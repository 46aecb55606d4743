"""Bilinear interpolation of maps whose values stand at given places of an image."""

import numpy as np


def enlarged(maps: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (N, h, w) of values at `rows` (h,) and `columns` (w,) of an image, in pixels from the centre of its first
    one, as (N, H, W) float32 at all pixels. Beyond the outermost places a value is that of the nearest."""
    down, along = _matrix(size[0], rows), _matrix(size[1], columns)
    return np.einsum("yh,nhw,xw->nyx", down, np.asarray(maps, np.float32), along, optimize=True)


def centres(cells: int, pixels: int) -> np.ndarray:
    """(cells,): where the centres of cells are that cover an axis of so many pixels."""
    return (np.arange(cells) + 0.5) * pixels / cells - 0.5


def _matrix(pixels, places):
    """(pixels, places): interpolation along one axis."""
    parts = [np.interp(np.arange(pixels), places, one) for one in np.eye(len(places))]
    return np.stack(parts, axis=1).astype(np.float32)

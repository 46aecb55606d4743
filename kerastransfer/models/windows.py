"""A network of cubes over a whole volume, window by window."""

from collections.abc import Callable

import numpy as np

from kerastransfer.data.cubes import cut, windows

# From cubes (B, d, h, w, 1) to numbers (B, d, h, w, C).
Network = Callable[[np.ndarray], np.ndarray]


def over_volume(network: Network, image: np.ndarray, cube: tuple[int, int, int]) -> np.ndarray:
    """What a network of cubes gives for a volume (D, H, W) of any size: (D, H, W, C), the mean over the windows that a
    voxel is in. Windows overlap by half, and reach beyond a volume that is shorter than a cube."""
    total, counts = None, np.zeros((*image.shape, 1), np.float32)
    for corner in windows(image.shape, cube):
        out = np.asarray(network(cut(image, corner, cube)[None, ..., None]), np.float32)[0]
        if total is None:
            total = np.zeros((*image.shape, out.shape[-1]), np.float32)
        outer, inner = zip(*map(_overlap, corner, cube, image.shape), strict=True)
        total[outer] += out[inner]
        counts[outer] += 1
    return total / counts


def labels_of(network: Network, image: np.ndarray, cube: tuple[int, int, int]) -> np.ndarray:
    """The class (D, H, W) uint8 of each voxel, from a network of logits: that of the largest mean of its softmax."""
    return over_volume(lambda cubes: _softmax(np.asarray(network(cubes))), image, cube).argmax(axis=-1).astype(np.uint8)


def _overlap(begin, length, side):
    """Along one axis, where a window lies in the volume, and where the volume lies in the window."""
    first, last = max(0, begin), min(side, begin + length)
    return slice(first, last), slice(first - begin, last - begin)


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)

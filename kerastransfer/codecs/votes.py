"""Masks from maps of votes, with thresholds that are chosen only by boxes."""

from collections.abc import Sequence

import numpy as np

# The number of thresholds to try.
# Votes are sums of signed terms: what is this much smaller than the highest is a rounding error.
NOISE = 1e-6
CANDIDATES = 200


def threshold_by_boxes(votes: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> float:
    """The threshold above which maps of votes (H, W) extend as far as the boxes (N, (y1, x1, y2, x2)) of their images.

    A mask touches the sides of its box but need not fill it. So the pixels above the threshold and those in boxes are
    projected on the two axes and compared by IoU (as in the projection loss of BoxInst, Tian et al. 2021); the one with
    the best mean over images and axes is chosen.
    """
    shadows = [_shadows(values, own) for values, own in zip(votes, boxes, strict=True)]
    heights = np.concatenate([height for image in shadows for height, _ in image])
    candidates = np.unique(np.quantile(heights, np.linspace(0, 1, CANDIDATES), method="lower"))[:-1]
    candidates = candidates[candidates > NOISE * heights.max(initial=0)]
    if not len(candidates):
        # Without votes no threshold is better than another.
        return 1.0
    scores = [
        np.mean([_iou(height > threshold, inside) for image in shadows for height, inside in image])
        for threshold in candidates
    ]
    return float(candidates[np.argmax(scores)])


def classes_by_votes(votes: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """From votes (H, W, K) to classes (H, W) uint8: the class that exceeds its threshold by the largest factor, or
    0."""
    odds = votes / np.asarray(thresholds, np.float32)
    return np.where(odds.max(axis=-1) > 1, odds.argmax(axis=-1) + 1, 0).astype(np.uint8)


def inside_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """From boxes (N, 4) as fractions to (H, W) bool, the pixels whose centres are in one of them."""
    inside = np.zeros(size, bool)
    for y1, x1, y2, x2 in np.ceil(np.asarray(boxes) * np.tile(size, 2) - 0.5).astype(int):
        inside[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = True
    return inside


def _shadows(values, boxes):
    """The projections (highest vote, whether in a box) on rows and on columns."""
    inside = inside_boxes(boxes, values.shape)
    return [(values.max(axis=axis), inside.any(axis=axis)) for axis in (1, 0)]


def _iou(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0

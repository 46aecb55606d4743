"""Maps of votes to masks, by boxes alone."""

from collections.abc import Sequence

import numpy as np

CANDIDATES = 200  # thresholds that are tried


def threshold_by_boxes(votes: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> float:
    """The threshold above which maps of votes (H, W) reach as far as the boxes (N, (y1, x1, y2, x2)) of their images.

    A mask touches the sides of its box and need not fill it: so that what is above the threshold and what is in a box
    are compared as shadows on the two axes, by IoU (what BoxInst's projection term trains; Tian et al. 2021), and
    the best mean over images and axes wins.
    """
    shadows = [_shadows(values, own) for values, own in zip(votes, boxes, strict=True)]
    heights = np.concatenate([height for image in shadows for height, _ in image])
    candidates = np.unique(np.quantile(heights, np.linspace(0, 1, CANDIDATES), method="lower"))[:-1]
    candidates = candidates[candidates > 0]
    if not len(candidates):
        return 1.0  # nobody votes, so that no threshold is better than another
    scores = [
        np.mean([_iou(height > threshold, inside) for image in shadows for height, inside in image])
        for threshold in candidates
    ]
    return float(candidates[np.argmax(scores)])


def classes_by_votes(votes: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Votes (H, W, K) to classes (H, W) uint8: the one that is furthest above its threshold, by ratio; else 0."""
    odds = votes / np.asarray(thresholds, np.float32)
    return np.where(odds.max(axis=-1) > 1, odds.argmax(axis=-1) + 1, 0).astype(np.uint8)


def inside_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) as fractions to the pixels (H, W) whose centres lie in one of them."""
    inside = np.zeros(size, bool)
    for y1, x1, y2, x2 in np.ceil(np.asarray(boxes) * np.tile(size, 2) - 0.5).astype(int):
        inside[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = True
    return inside


def _shadows(values, boxes):
    """(highest vote, whether in a box) of each row, and of each column."""
    inside = inside_boxes(boxes, values.shape)
    return [(values.max(axis=axis), inside.any(axis=axis)) for axis in (1, 0)]


def _iou(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0

"""Accuracy and confusion matrix of image classification."""

from collections.abc import Sequence

import numpy as np

TOP = 5


def accuracy(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy from truth (N,) in [0, K) and probabilities (N, K): {"top1", "top5", "images", "top1/CLASS", ...}.

    top1, top5: share of images whose class is the most likely one, or among the five most likely; top5 is left out if
        there are at most five classes. Of classes with equal probability the first counts as more likely.
    top1/CLASS: the same for the images of a class; NaN if there are none.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    right = order == truth[:, None]
    found = {"top1": float(right[:, 0].mean())}
    if len(classes) > TOP:
        found["top5"] = float(right[:, :TOP].any(axis=1).mean())
    found["images"] = len(truth)
    for k, name in enumerate(classes):
        of_class = right[truth == k, 0]
        found[f"top1/{name}"] = float(of_class.mean()) if len(of_class) else float("nan")
    return found


def confusion(truth: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Number of images (K, K) by their class in `truth` (rows) and in `labels` (columns), both (N,) in [0, K)."""
    return np.bincount(truth * num_classes + labels, minlength=num_classes**2).reshape(num_classes, num_classes)

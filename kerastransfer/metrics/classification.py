"""One class for each image: accuracy and confusions."""

from collections.abc import Sequence

import numpy as np

TOP = 5


def accuracy(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """truth (N,) in [0, K) and probabilities (N, K) to {"top1", "top5", "images", "top1/CLASS" for each class}.

    top1, top5: the share of images whose class is the likeliest, or among the five likeliest (left out where there are
    no more than five classes). Of classes of equal probability the first counts as likelier. top1/CLASS: the share of
    the images of a class; NaN for one without images.
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
    """Images (K, K) by their class in `truth` (rows) and in `labels` (columns), both (N,) in [0, K)."""
    return np.bincount(truth * num_classes + labels, minlength=num_classes**2).reshape(num_classes, num_classes)

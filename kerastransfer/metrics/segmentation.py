"""Scores maps of classes, per image and over the data set.

A class that is absent from both truth and prediction is left out of all means, as it is neither right nor wrong there;
class 0 is background and is never averaged; pixels whose truth is void are ignored.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kerastransfer.vocabulary import VOID


def confusion(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Number of pixels (K, K) by class in `truth` (rows) and in `prediction` (columns), both (H, W) integers.

    Raises ValueError for maps of different sizes and for values that are not classes (or VOID, in the truth).
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"a prediction of {prediction.shape} pixels for a truth of {truth.shape}")
    known = truth != VOID
    truth, prediction = truth[known].astype(np.int64), prediction[known].astype(np.int64)
    for name, values in (("truth", truth), ("prediction", prediction)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(f"{name} holds {values.min()}..{values.max()}; classes are 0..{num_classes - 1}")
    return np.bincount(truth * num_classes + prediction, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_image(
    truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray], num_classes: int
) -> dict[str, np.ndarray]:
    """Scores of N images, given one by one: both sides may be generators of (H, W) maps of any size.

    Returns iou (N,) and dice (N,), which are means over the foreground classes that are present in truth or prediction,
    and NaN for an image in which none is; and the numbers of pixels per class that they are computed from:
    intersection, truth, prediction (N, K).
    """
    counted = [confusion(*maps, num_classes) for maps in zip(truths, predictions, strict=True)]
    table = np.array(counted, np.int64).reshape(-1, num_classes, num_classes)
    counts = {
        "intersection": np.diagonal(table, axis1=1, axis2=2).copy(),
        "truth": table.sum(axis=2),
        "prediction": table.sum(axis=1),
    }
    iou, dice = _overlaps(**counts)
    return {"iou": _mean(iou[:, 1:]), "dice": _mean(dice[:, 1:]), **counts}


def pixel_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of the pixels of one image: foreground (any class) against background.

    truth: (H, W) integers. scores: (H, W), higher for foreground. Returns NaN if the image has only one of the two.
    """
    # Imported only here, so that `predict` and --help start quickly.
    from sklearn.metrics import roc_auc_score

    known = truth != VOID
    foreground = truth[known] > 0
    if foreground.all() or not foreground.any():
        return np.nan
    return float(roc_auc_score(foreground, scores[known]))


def summarise(scores: Mapping[str, np.ndarray], classes: Sequence[str]) -> dict[str, float]:
    """Summarise the result of `per_image`; `classes` (K,) are the names of the classes, background first.

    iou_mean, iou_median, iou_min, iou_max, dice_mean: over the images that have a score; `images` is their number. The
        median of an even number of images is the upper of the two in the middle, as in the code of ElSedfy 2025.
    iou_dataset, dice_dataset, iou/<class>: from the pixels of all images together.
    """
    totals = (scores[side].sum(axis=0) for side in ("intersection", "truth", "prediction"))
    iou, dice = _overlaps(*totals)
    each = np.sort(scores["iou"][~np.isnan(scores["iou"])])
    return {
        "iou_mean": float(_mean(each)),
        "iou_median": float(each[len(each) // 2]) if len(each) else np.nan,
        "iou_min": float(each[0]) if len(each) else np.nan,
        "iou_max": float(each[-1]) if len(each) else np.nan,
        "dice_mean": float(_mean(scores["dice"])),
        "iou_dataset": float(_mean(iou[1:])),
        "dice_dataset": float(_mean(dice[1:])),
        **{f"iou/{name}": float(value) for name, value in zip(classes, iou, strict=True)},
        "images": len(each),
    }


def _overlaps(intersection, truth, prediction):
    """IoU and Dice from counts (..., K); NaN for a class that is in neither."""
    total = np.where(truth + prediction > 0, truth + prediction, np.nan)
    return intersection / (total - intersection), 2 * intersection / total


def _mean(values):
    """Mean over the last axis without NaNs; NaN, without a warning, if nothing is left."""
    present = ~np.isnan(values)
    number = present.sum(axis=-1)
    return np.where(present, values, 0).sum(axis=-1) / np.where(number, number, np.nan)

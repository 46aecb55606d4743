"""Scores volumes of labels, one by one. A class that is absent from both truth and prediction of a volume is left out
of its means; class 0 is background and is never averaged."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kerastransfer.metrics import segmentation


def per_volume(
    truths: Iterable[np.ndarray], predictions: Iterable[np.ndarray], num_classes: int
) -> dict[str, np.ndarray]:
    """Scores of N volumes (D, H, W), given one by one: dice, iou (N,), means over the foreground classes, and
    class_dice (N, K - 1), NaN where the class is absent. Dice is 2 * |A and B| / (|A| + |B|), of labels and not of
    probabilities."""
    flat = ([one.reshape(len(one), -1) for one in maps] for maps in zip(truths, predictions, strict=True))
    truth, prediction = zip(*flat, strict=True)
    found = segmentation.per_image(truth, prediction, num_classes)
    total = (found["truth"] + found["prediction"])[:, 1:]
    each = 2 * found["intersection"][:, 1:] / np.where(total > 0, total, np.nan)
    return {"dice": found["dice"], "iou": found["iou"], "class_dice": each}


def summarise(scores: Mapping[str, np.ndarray], classes: Sequence[str]) -> dict[str, float]:
    """Means over the volumes that have a score: dice_mean, iou_mean, dice/<class>; dice_min, the worst volume; and
    `volumes`, their number. classes (K,): background first."""
    there = ~np.isnan(scores["dice"])
    number = int(there.sum())
    return {
        "dice_mean": _mean(scores["dice"]),
        "dice_min": float(scores["dice"][there].min()) if number else np.nan,
        "iou_mean": _mean(scores["iou"]),
        **{f"dice/{name}": _mean(values) for name, values in zip(classes[1:], scores["class_dice"].T, strict=True)},
        "volumes": number,
    }


def _mean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan

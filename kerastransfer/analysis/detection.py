"""How exactly two detectors find objects: average precision against the IoU that is asked for (Li et al. 2019, section
4.1 and figure 3)."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.material import Detected, pair
from kerastransfer.analysis.resamples import estimate, require_enough
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap, voc

TITLE = "Detection against the IoU that is asked for"
NEEDS = Detected
# The IoU of the paper's table.
LOW, HIGH = 0.5, 0.7
METHODS = {"ap11": "11-point", "ap_area": "area"}


@dataclasses.dataclass
class Settings:
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """IoUs of the curve; 0.5 and 0.7 are always computed, for the table."""
    method: Literal["11-point", "area"] = "11-point"
    """Average precision of the curve and of the claims: VOC's mean over 11 recalls, as in the paper, or the area under
    the curve of precision and recall. The table has both."""
    resamples: int = 1000
    """Bootstrap resamples of the test images, for the intervals."""
    seed: int = 0
    """Seed of the resamples."""

    def __post_init__(self):
        wrong = [one for one in self.thresholds if not 0 <= one < 1]
        if wrong:
            raise UserError(f"--detection.thresholds has {wrong[0]:g}; an IoU to be above is from 0 to below 1")
        if not self.thresholds:
            raise UserError("--detection.thresholds is empty; give at least one IoU, such as 0.5")
        require_enough(self.resamples, "detection")


def study(settings: Settings, material: Detected, progress: Callable[[Iterable], Iterable] = iter) -> Findings:
    """Scores of both detectors at each IoU, and whether the first gains more the more exact a box must be."""
    from kerastransfer.report import figures
    from kerastransfer.report.page import Figure, Table

    first, second = pair(material.found)
    number = len(material.classes)
    matches = {model: voc.match(material.truths, material.found[model], number) for model in progress([first, second])}
    there = check_objects(matches[first].positives)
    thresholds = tuple(sorted({*settings.thresholds, LOW, HIGH}))
    by_class = {
        (model, name, at): matches[model].average_precision(at, method)
        for model in matches
        for name, method in METHODS.items()
        for at in thresholds
    }
    scores = {key: float(voc.mean(values)) for key, values in by_class.items()}
    samples = resampled(settings, matches)

    main = next(name for name, method in METHODS.items() if method == settings.method)
    findings = Findings(TITLE, _text(settings, there, len(material.truths), material.classes))
    findings.numbers = {
        model: {f"{name}/{at:g}": scores[model, name, at] for name in METHODS for at in thresholds} for model in matches
    }
    findings.tables = [
        _table(first, second, scores, samples),
        Table(
            [f"{model}, IoU {at:g}" for at in (LOW, HIGH) for model in matches],
            [
                (label, [float(by_class[model, main, at][k]) for at in (LOW, HIGH) for model in matches])
                for k, label in enumerate(material.classes)
            ],
            title=f"Average precision of each class ({settings.method})",
            corner="class",
        ),
    ]
    curves = {model: (thresholds, [scores[model, main, at] for at in thresholds], None) for model in matches}
    caption = (
        f"Mean average precision ({settings.method}) of both detectors on the same test images, where a detection is "
        "right if its IoU with an object is above the value on the axis."
    )
    findings.figures = [
        (
            "detection_by_iou",
            Figure("Average precision against IoU", caption, b"", chart=True),
            figures.lines(curves, x="IoU to be above", y="mean average precision"),
        )
    ]
    gained = {at: scores[first, main, at] - scores[second, main, at] for at in (LOW, HIGH)}
    apart = {at: samples[first, main, at] - samples[second, main, at] for at in (LOW, HIGH)}
    findings.claims = [
        Claim(
            "After fine-tuning, detection is better at a high IoU.",
            f"mean average precision at IoU {HIGH:g} of {first} minus that of {second}",
            estimate(gained[HIGH], apart[HIGH]),
        ),
        Claim(
            "The gain is larger at a high IoU than at a low one.",
            f"the gain of {first} over {second} in mean average precision at IoU {HIGH:g} minus that at {LOW:g}",
            estimate(gained[HIGH] - gained[LOW], apart[HIGH] - apart[LOW]),
        ),
    ]
    return findings


def resampled(settings: Settings, matches: dict[str, voc.Matches]) -> dict[tuple[str, str, float], np.ndarray]:
    """{(model, kind of average precision, IoU): the mean over classes in each bootstrap resample (R,)}. All models
    are scored on the same resamples, and what a detection goes to is not computed again."""
    images = len(next(iter(matches.values())).positives)
    weights = bootstrap.resampled(images, resamples=settings.resamples, seed=settings.seed)
    return {
        (model, name, at): voc.mean(one.average_precision(at, method, weights))
        for model, one in matches.items()
        for name, method in METHODS.items()
        for at in (LOW, HIGH)
    }


def check_objects(positives: np.ndarray) -> np.ndarray:
    """How many objects there are to find of each class (K,), from (I, K). Raises LeftOut where there are none."""
    there = positives.sum(axis=0)
    if not there.any():
        raise LeftOut(
            f"none of the {len(positives)} test images has an object to find (difficult objects and crowds need not be "
            "found)"
        )
    return there


def _table(first, second, scores, samples):
    from kerastransfer.report.page import Table

    columns = [(name, at) for name in METHODS for at in (LOW, HIGH)]
    rows = [
        (model, [estimate(scores[model, name, at], samples[model, name, at]) for name, at in columns])
        for model in (first, second)
    ]
    differences = [
        estimate(
            scores[first, name, at] - scores[second, name, at], samples[first, name, at] - samples[second, name, at]
        )
        for name, at in columns
    ]
    headings = [f"{METHODS[name]}, IoU {at:g}" for name, at in columns]
    rows.append((f"{first} minus {second}", differences))
    return Table(headings, rows, title="Mean average precision", corner="model")


def _text(settings, there, images, classes):
    text = [
        f"Average precision as PASCAL VOC defines it, on {images:,} test images with {there.sum():,} objects: a "
        "detection is right if its largest IoU with an object of its class is above the threshold and the object has "
        "not been found yet. Difficult objects count neither way. The intervals are of 95 %, from "
        f"{settings.resamples} bootstrap resamples of the images, the same ones for both models."
    ]
    missing = [label for label, count in zip(classes, there, strict=True) if not count]
    if missing:
        from kerastransfer.flags import some

        text.append(f"No test image has an object of {some(missing)}; the mean is over the other classes.")
    return text

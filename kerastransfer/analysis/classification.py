"""How well two models classify after the same fine-tuning (Li et al. 2019, table 5)."""

import dataclasses
from collections.abc import Callable

import numpy as np

from kerastransfer.analysis.findings import Claim, Findings
from kerastransfer.analysis.material import Classified, pair
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap
from kerastransfer.metrics.classification import TOP, accuracy

TITLE = "Classification after fine-tuning"
NEEDS = Classified


@dataclasses.dataclass
class Settings:
    """Settings of the comparison of classifiers."""

    seed: int = 0
    """Seed of the draws of test images that the intervals come from."""


def right(truth: np.ndarray, probabilities: np.ndarray, top: int = 1) -> np.ndarray:
    """Whether each image's class in truth (N,) is among the `top` most likely of probabilities (N, K); (N,) bool. Of
    classes with equal probability the first counts as more likely."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return (order[:, :top] == truth[:, None]).any(axis=1)


def study(settings: Settings, material: Classified, progress: Callable) -> Findings:
    """The accuracy of both models. Raises UserError for probabilities that are not finite."""
    from scipy import stats

    from kerastransfer.report.page import Estimate, Table

    first, second = names = pair(material.found)
    truth, classes = np.asarray(material.truth), material.classes
    for name in names:
        broken = int((~np.isfinite(material.found[name]).all(axis=1)).sum())
        if broken:
            raise UserError(
                f"the probabilities of {name} are not finite for {broken} of {len(truth)} images; its training went "
                "wrong: train it again, with a lower learning rate"
            )
    tops = [1, TOP] if len(classes) > TOP else [1]
    hits = {top: [right(truth, material.found[name], top) for name in names] for top in tops}
    rows = [
        (
            f"top-{top}",
            [*(float(one.mean()) for one in hits[top]),
             Estimate(*bootstrap.paired_difference(*hits[top], seed=settings.seed))],
        )
        for top in tops
    ]  # fmt: skip
    one, other = hits[1]
    alone = int((one & ~other).sum()), int((other & ~one).sum())
    # McNemar 1947, by the exact binomial law: images that both classify alike say nothing about a difference.
    p = stats.binomtest(alone[0], sum(alone)).pvalue if sum(alone) else 1.0
    agreement = Table(
        [f"{second} right", f"{second} wrong"],
        [
            (f"{first} right", [int((one & other).sum()), alone[0]]),
            (f"{first} wrong", [alone[1], int((~one & ~other).sum())]),
        ],
        "Test images by whether each model is right",
    )
    mean, low, high = bootstrap.paired_difference(other, one, seed=settings.seed)
    return Findings(
        TITLE,
        text=[
            f"Accuracy on {len(truth)} test images of {len(classes)} classes, with the interval of the difference over "
            f"images. {alone[0]} images are classified rightly by {first} alone and {alone[1]} by {second} alone "
            f"(McNemar's exact test: p = {p:.2g})."
        ],
        numbers={name: _numbers(accuracy(truth, material.found[name], classes)) for name in names},
        tables=[Table([first, second, "difference"], rows, "Accuracy"), agreement],
        claims=[
            Claim(
                "Pre-training on detection is worse for classification than pre-training on classification.",
                f"top-1 accuracy, {second} minus {first}",
                Estimate(mean, low, high),
            )
        ],
    )


def _numbers(found):
    """The metrics of `metrics.classification`, by names that say that they are scores."""
    names = {key: f"accuracy_{key}" for key in found if key in ("top1", "top5")}
    names |= {key: f"accuracy/{key.partition('/')[2]}" for key in found if key.startswith("top1/")}
    return {name: float(found[key]) for key, name in names.items()}

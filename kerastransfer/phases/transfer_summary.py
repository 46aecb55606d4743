"""What came of a comparison of pretexts: tables, curves, tests over seeds, and a verdict in words."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from kerastransfer.metrics import significance
from kerastransfer.metrics.bootstrap import spread
from kerastransfer.report.page import Estimate, Table
from kerastransfer.runs.outcome import Outcome

METRIC = "dice_mean"
# {(start, number of labelled images): Dice (S,) of each seed}
Scores = Mapping[tuple[str, float], Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A comparison of two starts at a number of labelled images. adjusted: the p-value for as many tests as there are
    claims (Holm 1979)."""

    better: str
    worse: str
    labelled: float
    test: significance.Test
    adjusted: float


def cell(start: str, labelled: float) -> str:
    """The name of the model of a start with so many labelled images."""
    return f"{start}_{labelled:g}"


def scores(each: Sequence[Outcome], starts: Sequence[str], counts: Sequence[float]) -> Scores:
    """The Dice of every cell and seed."""
    return {
        (start, count): [outcome.models[cell(start, count)].metrics[METRIC] for outcome in each]
        for start in starts
        for count in counts
    }


def claims(found: Scores, pairs: Sequence[tuple[str, str]], counts: Sequence[float]) -> list[Claim]:
    """The tests of all pairs (better, worse) at all counts; none with a single seed."""
    tests = [
        (better, worse, count, significance.paired_test(found[better, count], found[worse, count]))
        for count in counts
        for better, worse in pairs
    ]
    adjusted = significance.holm([test.p for *_, test in tests])
    return [Claim(*one, p) for one, p in zip(tests, adjusted, strict=True)]


def saved(curve: Mapping[float, float], reached: float, count: float) -> float | None:
    """How many labelled images fewer `count` are than another start needs for the same Dice, from its Dice by number of
    images: interpolated over the logarithm of the number. None if it does not reach it with the most it was given."""
    counts = sorted(curve)
    # What a larger number loses by chance does not undo what a smaller one has reached.
    best = np.maximum.accumulate([curve[one] for one in counts])
    if reached <= best[0]:
        return 0.0
    if reached > best[-1]:
        return None
    above = int(np.searchsorted(best, reached))
    low, high = best[above - 1], best[above]
    part = (reached - low) / (high - low)
    needed = np.exp(np.log(counts[above - 1]) + part * (np.log(counts[above]) - np.log(counts[above - 1])))
    return max(0.0, float(needed) - count)


def tables(found: Scores, starts: Sequence[str], counts: Sequence[float], made: Sequence[Claim]) -> list[Table]:
    """The Dice of every start, and the tests, if there are several seeds."""
    seeds = len(next(iter(found.values())))
    title = f"Dice of a test image, mean and standard deviation over {seeds} seeds" if seeds > 1 else "Dice, one seed"
    columns = [f"{count:g} labelled" for count in counts]
    rows = [(start, [_estimate(found[start, count]) for count in counts]) for start in starts]
    scored = Table(columns, rows, title, "start")
    if seeds == 1:
        return [scored]
    columns = ["labelled", "difference", "p", "p, corrected", "detectable, one test"]
    rows = [
        (
            f"{one.better} minus {one.worse}",
            [
                one.labelled,
                Estimate(one.test.mean, one.test.low, one.test.high),
                one.test.p,
                one.adjusted,
                one.test.detectable,
            ],
        )
        for one in made
    ]
    title = (
        "Paired t-tests over seeds, with their 95 % intervals; p is also corrected for the number of tests (Holm "
        "1979). Detectable is the difference that a single test, without correction, finds four times in five"
    )
    return [scored, Table(columns, rows, title, "comparison")]


def verdict(
    found: Scores,
    starts: Sequence[str],
    counts: Sequence[float],
    controls: Mapping[str, str],
    made: Sequence[Claim],
) -> list[str]:
    """Which start is best for the data, how sure that is, and how many masks it saves."""
    seeds = len(next(iter(found.values())))
    means = {key: float(np.mean(values)) for key, values in found.items()}
    sentences = []
    for count in counts:
        first = max(starts, key=lambda start: means[start, count])
        text = f"With {count:g} labelled images, {first} is best: Dice {means[first, count]:.3f}"
        best = max(controls, key=lambda start: means[start, count])
        base = controls[best]
        if first not in controls:
            text += f"; of what was transferred, {best} is: {means[best, count]:.3f}"
        gain = 100 * (means[best, count] - means[base, count])
        text += f", {gain:+.1f} points from random weights ({base})"
        claim = next((one for one in made if (one.better, one.worse, one.labelled) == (best, base, count)), None)
        if seeds > 1 and claim:
            sure = "is" if claim.adjusted < significance.LEVEL else "is not"
            text += f", which {sure} significant over {seeds} seeds (p = {claim.adjusted:.2g} after correction)"
        if gain <= 0:
            sentences.append(f"{text}.")
            continue
        fewer = saved({one: means[base, one] for one in counts}, means[best, count], count)
        if fewer is None:
            text += f"; random weights do not reach that with {max(counts):g} images"
        elif fewer >= 1:
            text += f"; random weights need about {fewer:.0f} images more for the same"
        sentences.append(text + ".")
    sentences.append("The best is chosen by the Dice of the test images, so its own is a little too high.")
    if seeds == 1:
        sentences.append("One seed tells nothing of chance, so no test was made; give several, such as --seeds 0 1 2.")
    return sentences


def _estimate(values):
    mean, deviation = spread(values)
    return Estimate(mean, spread=None if np.isnan(deviation) else deviation)

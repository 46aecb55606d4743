"""Whether two methods differ, from their scores over the same seeds."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from kerastransfer.metrics import bootstrap

LEVEL, POWER = 0.05, 0.8


@dataclasses.dataclass(frozen=True)
class Test:
    """A paired t-test of a - b over seeds.

    mean, low, high: the mean difference and its 95 % confidence interval. p: two-sided p-value. detectable: the true
    difference that such a test would find with a probability of 80 %, at the spread seen here. All but the mean are NaN
    for a single pair.
    """

    mean: float
    low: float
    high: float
    p: float
    detectable: float


def paired_test(a: Sequence[float], b: Sequence[float]) -> Test:
    """The paired t-test of scores (N,) of two methods over the same N seeds. Pairs with a NaN are left out. Differences
    that are all equal have p = 0, or 1 if they are 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} scores cannot be paired with {len(b)}")
    kept = ~np.isnan(a) & ~np.isnan(b)
    mean, low, high = bootstrap.difference_over_seeds(a[kept], b[kept]) if kept.any() else (np.nan,) * 3
    number = int(kept.sum())
    if number < 2:
        return Test(mean, np.nan, np.nan, np.nan, np.nan)
    spread = float((a - b)[kept].std(ddof=1))
    if spread == 0:
        return Test(mean, low, high, float(mean == 0), 0.0)
    p = 2 * stats.t.sf(abs(mean) / (spread / np.sqrt(number)), number - 1)
    return Test(mean, low, high, float(p), spread * _detectable(number))


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for as many tests as there are (Holm 1979); NaNs stay, and do not count."""
    values = np.asarray(values, np.float64)
    order = [index for index in np.argsort(values) if not np.isnan(values[index])]
    adjusted, largest = values.copy(), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, values[index] * (len(order) - rank)))
        adjusted[index] = largest
    return adjusted.tolist()


def _detectable(number: int) -> float:
    """The difference, in standard deviations of the differences, that a two-sided paired t-test of `number` pairs finds
    with a probability of POWER."""
    freedom, limit = number - 1, stats.t.ppf(1 - LEVEL / 2, number - 1)
    # The spread that the test would see, as a share of the true one; SciPy's noncentral t fails for large effects.
    seen = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom) / freedom)

    def lacking(effect):
        shift = effect * np.sqrt(number)
        return np.mean(stats.norm.sf(limit * seen - shift) + stats.norm.cdf(-limit * seen - shift)) - POWER

    return float(optimize.brentq(lacking, 1e-3, 1e3))

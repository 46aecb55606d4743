"""How an error falls with the number of masks: a power law (Hestness et al. 2017, section 2), and how far it can be
trusted."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

# Beyond this many times the largest subset nothing is foretold.
FARTHEST = 100
# Exponents of error curves; those of the literature are 0.07 to 0.35 far from the start, and up to 1 near it.
EXPONENTS = (0.05, 2.0)


@dataclasses.dataclass(frozen=True)
class Needed:
    """How many masks an error needs, with the ends of an interval; infinity where it is never reached, or not before
    FARTHEST times the largest subset."""

    masks: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """error(n) = scale * n ** -exponent + floor, fitted to subsets of `sizes` (S,).

    resampled: (B, 3), scale, exponent and floor of fits to resampled draws, from which intervals come.
    """

    scale: float
    exponent: float
    floor: float
    sizes: np.ndarray
    resampled: np.ndarray

    def error(self, masks: float | np.ndarray) -> np.ndarray:
        """The error at so many masks."""
        return _curve(np.array([[self.scale, self.exponent, self.floor]]), masks)[0]

    def interval(self, masks: float | np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """The ends of an interval of the error at so many masks."""
        tail = (1 - confidence) / 2
        low, high = np.quantile(_curve(self.resampled, masks), (tail, 1 - tail), axis=0)
        return low, high

    def needed(self, error: float, confidence: float = 0.95) -> Needed:
        """The masks that bring the error down to `error`, and an interval."""
        tail = (1 - confidence) / 2
        each = np.sort([self._reached(error, *one) for one in self.resampled])
        # Between infinity and infinity nothing can be interpolated, so the ends are single fits.
        low, high = (each[round(share * (len(each) - 1))] for share in (tail, 1 - tail))
        return Needed(self._reached(error, self.scale, self.exponent, self.floor), float(low), float(high))

    def _reached(self, error, scale, exponent, floor):
        if error <= floor or scale <= 0:
            return math.inf if error <= floor else 1.0
        masks = ((error - floor) / scale) ** (-1 / exponent)
        return masks if masks <= FARTHEST * self.sizes.max() else math.inf


def fit(sizes: Sequence[int], errors: np.ndarray, *, resamples: int = 200, seed: int = 0) -> PowerLaw:
    """The power law through errors (draws, S) at subsets of sizes (S,), by least squares with floor >= 0. A NaN counts
    as the mean of the other draws. The interval is a bootstrap over draws: each is one nested series of subsets, with
    images of its own to score.

    Raises ValueError for fewer than three sizes or two draws.
    """
    sizes, errors = np.asarray(sizes, np.float64), np.asarray(errors, np.float64)
    if errors.ndim != 2 or errors.shape[1] != len(sizes):
        raise ValueError(f"errors {errors.shape} for {len(sizes)} sizes; give (draws, {len(sizes)})")
    if len(sizes) < 3 or len(errors) < 2:
        raise ValueError(f"{len(sizes)} sizes and {len(errors)} draws; a power law needs 3 and 2")
    random, draws = np.random.default_rng(seed), len(errors)
    if np.isnan(errors).all(axis=0).any():
        raise ValueError("a size has no error in any draw")
    mean = np.nanmean(errors, axis=0)
    errors = np.where(np.isnan(errors), mean, errors)
    # The bootstrap of few draws is too narrow; this widens it to Student's t (Hesterberg 2015, section 5.2).
    wider = np.sqrt(draws / (draws - 1)) * stats.t.ppf(0.975, draws - 1) / stats.norm.ppf(0.975)
    means = [errors[random.integers(draws, size=draws)].mean(axis=0) for _ in range(resamples)]
    resampled = [_fitted(sizes, mean + wider * (one - mean)) for one in means]
    return PowerLaw(*_fitted(sizes, mean), sizes, np.array(resampled))


def _fitted(sizes, mean):
    """(scale, exponent, floor). For each exponent the rest is linear, so the best exponent is looked for on a line."""

    def best(exponent):
        columns = np.stack([sizes**-exponent, np.ones(len(sizes))], axis=1)
        solution, distance = optimize.nnls(columns, mean)
        return distance, solution

    grid = np.geomspace(*EXPONENTS, 25)
    nearest = int(np.argmin([best(exponent)[0] for exponent in grid]))
    around = grid[max(0, nearest - 1)], grid[min(len(grid) - 1, nearest + 1)]
    exponent = optimize.minimize_scalar(lambda value: best(value)[0], bounds=around, method="bounded").x
    scale, floor = best(exponent)[1]
    return scale, exponent, floor


def _curve(parameters, masks):
    scale, exponent, floor = (column[:, None] for column in parameters.T)
    masks = np.asarray(masks, np.float64)
    values = scale * np.ravel(masks) ** -exponent + floor
    return values.reshape(len(parameters), *masks.shape)

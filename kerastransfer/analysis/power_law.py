"""How an error falls with the number of masks: a power law (Hestness et al. 2017, section 2), and how far it can be
trusted."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize

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

    resampled: (B, 3), scale, exponent and floor of fits to resampled errors, from which intervals come.
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
    """The power law through the mean of errors (R, S, N): R draws of nested subsets of sizes (S,), N images to score,
    NaN where a draw did not score an image. Least squares, with floor >= 0.

    The interval is a bootstrap over draws and over images at once, as both are samples: other masks would have been
    annotated, and other images scored (Owen 2007: such an interval is rather too wide than too narrow).
    Raises ValueError for fewer than three sizes or two draws, and for a size without any error.
    """
    sizes, errors = np.asarray(sizes, np.float64), np.asarray(errors, np.float64)
    if errors.ndim != 3 or errors.shape[1] != len(sizes):
        raise ValueError(f"errors {errors.shape} for {len(sizes)} sizes; give (R, {len(sizes)}, N)")
    draws, _, images = errors.shape
    if len(sizes) < 3 or draws < 2:
        raise ValueError(f"{len(sizes)} sizes and {draws} draws; a power law needs 3 and 2")
    there = ~np.isnan(errors)
    if not there.any(axis=(0, 2)).all():
        raise ValueError("a size has no error in any draw")
    values = np.where(there, errors, 0.0)

    def mean(of_draws, of_images):
        total = np.einsum("r,rsn,n->s", of_draws, values, of_images)
        return total / np.einsum("r,rsn,n->s", of_draws, there, of_images)

    random, resampled = np.random.default_rng(seed), []
    while len(resampled) < resamples:
        counts = [np.bincount(random.integers(number, size=number), minlength=number) for number in (draws, images)]
        if np.einsum("r,rsn,n->s", counts[0], there, counts[1]).all():
            resampled.append(_fitted(sizes, mean(*counts)))
    return PowerLaw(*_fitted(sizes, mean(np.ones(draws), np.ones(images))), sizes, np.array(resampled))


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

"""The uncertainty of a mean: over images by the bootstrap, over seeds by the sample standard deviation, and of a
difference over seeds by Student's t."""

import warnings

import numpy as np
from scipy import stats


def interval(
    values: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of `values` (N,), and the ends of its confidence interval (bias-corrected and accelerated; Efron 1987).

    NaNs are dropped. The interval of a single value is NaN, and without values the mean is NaN as well; the interval of
    equal values has no width.
    """
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if len(values) == 1:
        return mean, np.nan, np.nan
    if np.ptp(values) == 0:
        return mean, mean, mean
    # With two or three images the correction can be undefined; the interval is then NaN.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (values,), np.mean, n_resamples=resamples, confidence_level=confidence, method="BCa", rng=seed, batch=200
        ).confidence_interval
    return mean, float(found.low), float(found.high)


def paired_difference(a: np.ndarray, b: np.ndarray, **options) -> tuple[float, float, float]:
    """Mean of a - b over the images (N,) for which both have a score, and the ends of its confidence interval.

    options: as in `interval`.

    Pairing the scores by image removes the variation between easy and hard images.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"scores of {len(a)} and of {len(b)} images cannot be paired")
    return interval(a - b, **options)


def spread(values: np.ndarray) -> tuple[float, float]:
    """Mean and sample standard deviation (divisor N - 1) over seeds; the deviation of a single seed is NaN."""
    values = np.asarray(values, np.float64)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan


def difference_over_seeds(a: np.ndarray, b: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of a - b over seeds (N,), and the ends of its confidence interval by Student's t with N - 1 degrees of
    freedom; NaN for a single seed."""
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    mean, deviation = spread(differences)
    if len(differences) < 2:
        return mean, np.nan, np.nan
    half = stats.t.ppf((1 + confidence) / 2, len(differences) - 1) * deviation / np.sqrt(len(differences))
    return mean, float(mean - half), float(mean + half)


def resampled(images: int, *, resamples: int = 200, seed: int = 0) -> np.ndarray:
    """How often each of `images` is in each bootstrap resample (R, N) int64, for numbers of the whole data set, such as
    average precision, which are not a mean over images."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)


def percentiles(value: float, samples: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float, float]:
    """A number, and the ends of its confidence interval from its values in bootstrap resamples (R,), by their
    percentiles (Efron 1987, section 1). Resamples without a value are left out; without any the interval is NaN."""
    samples = np.asarray(samples, np.float64)
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return float(value), np.nan, np.nan
    low, high = np.quantile(samples, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(value), float(low), float(high)

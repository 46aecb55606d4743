"""Fitted power laws: exact ones are found, and the interval of noisy ones covers the truth."""

import math

import numpy as np
import pytest

from kerastransfer.analysis.power_law import FARTHEST, fit

SIZES = np.array([2, 4, 8, 16, 32, 48])


def exact(scale, exponent, floor):
    """Errors (R, S, N) that are the law itself."""
    return np.tile((scale * SIZES**-exponent + floor)[:, None], (2, 1, 3))


def noisy(seed, scale=0.9, exponent=0.6, floor=0.1, images=40, parts=4):
    """Errors (R, S, N): images differ in difficulty, subsets in what they teach; each is scored in one part of two
    passes."""
    random = np.random.default_rng(seed)
    law = (scale * SIZES**-exponent + floor)[:, None]
    subsets = 0.02 * random.normal(size=(2 * parts, len(SIZES), 1)) * SIZES[:, None] ** -0.3
    errors = (
        law + subsets + 0.1 * random.normal(size=images) + 0.03 * random.normal(size=(2 * parts, len(SIZES), images))
    )
    for draw in range(2 * parts):
        errors[draw, :, (np.arange(images) + draw // parts) % parts != draw % parts] = np.nan
    return errors


@pytest.mark.parametrize(("scale", "exponent", "floor"), [(0.9, 0.6, 0.1), (0.5, 0.25, 0.0), (0.7, 1.1, 0.3)])
def test_an_exact_law_is_found(scale, exponent, floor):
    law = fit(SIZES, exact(scale, exponent, floor), resamples=10)
    assert (law.scale, law.exponent, law.floor) == pytest.approx((scale, exponent, floor), abs=2e-3)
    assert law.error(np.array([2.0, 100.0])) == pytest.approx(scale * np.array([2.0, 100.0]) ** -exponent + floor, 1e-2)
    wanted = ((floor + 0.05 - floor) / scale) ** (-1 / exponent)
    needed = law.needed(floor + 0.05)
    if wanted < 48 * FARTHEST:
        assert needed.masks == pytest.approx(wanted, rel=0.05)
        assert needed.low == pytest.approx(wanted, rel=0.05) and needed.high == pytest.approx(wanted, rel=0.05)


def test_below_the_floor_nothing_suffices():
    law = fit(SIZES, exact(0.9, 0.6, 0.3), resamples=10)
    assert law.needed(0.2) == (law.needed(0.29)) and math.isinf(law.needed(0.2).masks)


def test_nothing_is_foretold_far_beyond_the_data():
    law = fit(SIZES, exact(0.5, 0.25, 0.0), resamples=10)
    assert math.isinf(law.needed(0.01).masks)


def test_a_floor_is_never_negative():
    # It falls faster than any power law to 0.
    law = fit(SIZES, np.tile(np.maximum(0.5 - 0.01 * SIZES, 0.01)[:, None], (2, 1, 3)), resamples=10)
    assert law.floor >= 0 and law.scale >= 0


def test_an_error_that_does_not_fall_has_no_scale():
    law = fit(SIZES, np.full((2, 6, 3), 0.4), resamples=10)
    assert law.floor + law.scale == pytest.approx(0.4, abs=1e-3)
    assert law.needed(0.5).masks <= 1 and math.isinf(law.needed(0.3).masks)


def test_the_interval_holds_the_point_and_widens_with_distance():
    law = fit(SIZES, noisy(0))
    low, high = law.interval(np.array([48.0, 400.0]))
    assert (low < law.error(np.array([48.0, 400.0]))).all() and (law.error(np.array([48.0, 400.0])) < high).all()
    needed = law.needed(0.16)
    assert needed.low <= needed.masks <= needed.high


@pytest.mark.slow
def test_nineteen_of_twenty_intervals_cover_the_truth():
    truth = (0.06 / 0.9) ** (-1 / 0.6)
    covered = []
    for seed in range(100):
        needed = fit(SIZES, noisy(seed), resamples=60).needed(0.16)
        covered.append(needed.low <= truth <= needed.high)
    assert 0.88 <= np.mean(covered) <= 1.0


def test_an_image_that_is_not_scored_counts_for_nothing():
    errors = exact(0.9, 0.6, 0.1)
    errors[0, 2, 1] = np.nan
    assert fit(SIZES, errors, resamples=10).exponent == pytest.approx(0.6, abs=0.01)
    errors[:, 2] = np.nan
    with pytest.raises(ValueError, match="no error"):
        fit(SIZES, errors)


@pytest.mark.parametrize(
    ("sizes", "errors", "message"),
    [
        ([2, 4], np.ones((3, 2, 4)), "needs 3 and 2"),
        ([2, 4, 8], np.ones((1, 3, 4)), "needs 3 and 2"),
        ([2, 4, 8], np.ones((3, 2, 4)), r"give \(R, 3, N\)"),
    ],
)
def test_too_little_for_a_law_is_refused(sizes, errors, message):
    with pytest.raises(ValueError, match=message):
        fit(sizes, errors)

"""Fitted power laws: exact ones are found, and the interval of noisy ones covers the truth."""

import math

import numpy as np
import pytest

from kerastransfer.analysis.power_law import FARTHEST, fit

SIZES = np.array([2, 4, 8, 16, 32, 48])


def noisy(seed, scale=0.9, exponent=0.6, floor=0.1, draws=8):
    """Errors (draws, S), whose images differ in difficulty and whose subsets differ."""
    random = np.random.default_rng(seed)
    exact = scale * SIZES**-exponent + floor
    return exact + 0.02 * random.normal(size=(draws, 1)) + 0.02 * random.normal(size=(draws, 6)) * SIZES**-0.3


@pytest.mark.parametrize(("scale", "exponent", "floor"), [(0.9, 0.6, 0.1), (0.5, 0.25, 0.0), (0.7, 1.1, 0.3)])
def test_an_exact_law_is_found(scale, exponent, floor):
    errors = np.tile(scale * SIZES**-exponent + floor, (2, 1))
    law = fit(SIZES, errors, resamples=10)
    assert (law.scale, law.exponent, law.floor) == pytest.approx((scale, exponent, floor), abs=2e-3)
    assert law.error(np.array([2.0, 100.0])) == pytest.approx(scale * np.array([2.0, 100.0]) ** -exponent + floor, 1e-2)
    wanted = ((floor + 0.05 - floor) / scale) ** (-1 / exponent)
    needed = law.needed(floor + 0.05)
    if wanted < 48 * FARTHEST:
        assert needed.masks == pytest.approx(wanted, rel=0.05)
        assert needed.low == pytest.approx(wanted, rel=0.05) and needed.high == pytest.approx(wanted, rel=0.05)


def test_below_the_floor_nothing_suffices():
    law = fit(SIZES, np.tile(0.9 * SIZES**-0.6 + 0.3, (2, 1)), resamples=10)
    assert law.needed(0.2) == (law.needed(0.29)) and math.isinf(law.needed(0.2).masks)


def test_nothing_is_foretold_far_beyond_the_data():
    law = fit(SIZES, np.tile(0.5 * SIZES**-0.25, (2, 1)), resamples=10)
    assert math.isinf(law.needed(0.01).masks)


def test_a_floor_is_never_negative():
    # It falls faster than any power law to 0.
    law = fit(SIZES, np.tile(np.maximum(0.5 - 0.01 * SIZES, 0.01), (2, 1)), resamples=10)
    assert law.floor >= 0 and law.scale >= 0


def test_an_error_that_does_not_fall_has_no_scale():
    law = fit(SIZES, np.full((2, 6), 0.4), resamples=10)
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


def test_a_draw_that_lacks_a_size_counts_for_the_others():
    errors = np.tile(0.9 * SIZES**-0.6 + 0.1, (3, 1))
    errors[0, 2] = np.nan
    assert fit(SIZES, errors, resamples=10).exponent == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(
    ("sizes", "errors", "message"),
    [
        ([2, 4], np.ones((3, 2)), "needs 3 and 2"),
        ([2, 4, 8], np.ones((1, 3)), "needs 3 and 2"),
        ([2, 4, 8], np.ones((3, 2)), r"give \(draws, 3\)"),
    ],
)
def test_too_little_for_a_law_is_refused(sizes, errors, message):
    with pytest.raises(ValueError, match=message):
        fit(sizes, errors)

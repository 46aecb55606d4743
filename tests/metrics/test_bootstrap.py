import math

import numpy as np
import pytest

from kerastransfer.metrics import bootstrap


def test_a_large_sample_has_the_interval_of_the_normal_law():
    values = np.random.default_rng(0).normal(0.6, 0.2, 2000)
    mean, low, high = bootstrap.interval(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)


def test_the_interval_repeats_and_widens_with_confidence():
    values = np.random.default_rng(1).uniform(size=30)
    assert bootstrap.interval(values) == bootstrap.interval(values)
    _, low, high = bootstrap.interval(values)
    _, lower, higher = bootstrap.interval(values, confidence=0.99)
    assert lower < low < high < higher


def test_pairing_takes_out_what_is_hard_for_everyone():
    rng = np.random.default_rng(2)
    hardness = rng.normal(0, 0.3, 100)
    a, b = 0.7 + hardness + rng.normal(0, 0.01, 100), 0.6 + hardness + rng.normal(0, 0.01, 100)
    difference, low, high = bootstrap.paired_difference(a, b)
    assert 0.09 < low < difference < high < 0.11
    assert np.subtract(*bootstrap.interval(a)[:0:-1]) > 5 * (high - low)


def test_nans_are_dropped_in_pairs():
    a, b = [1.0, np.nan, 0.5, 0.7, 0.2], [0.5, 0.5, np.nan, 0.4, 0.1]
    assert bootstrap.paired_difference(a, b) == bootstrap.paired_difference([1.0, 0.7, 0.2], [0.5, 0.4, 0.1])


def test_few_images_give_no_warning():
    np.testing.assert_equal(bootstrap.interval([]), (np.nan, np.nan, np.nan))
    np.testing.assert_equal(bootstrap.interval([0.5]), (0.5, np.nan, np.nan))
    assert bootstrap.interval([0.5] * 4) == (0.5, 0.5, 0.5)
    for values in ([0.1, 0.2], [0.0, 0.0, 1.0], [0.5] * 20 + [0.6]):
        assert bootstrap.interval(values)[0] == pytest.approx(np.mean(values))


def test_unequal_lengths_cannot_be_paired():
    with pytest.raises(ValueError, match="of 2 and of 3 images"):
        bootstrap.paired_difference([1, 2], [1, 2, 3])


def test_spread_is_the_sample_deviation():
    assert bootstrap.spread([0.5, 0.6, 0.7]) == pytest.approx((0.6, 0.1))
    np.testing.assert_equal(bootstrap.spread([0.5]), (0.5, np.nan))


def test_the_interval_of_a_difference_over_seeds_is_students():
    """Of 1, 2 and 3: the mean 2, and 4.303 times the deviation of 1 by the root of 3."""
    mean, low, high = bootstrap.difference_over_seeds([2, 4, 6], [1, 2, 3])
    np.testing.assert_allclose(
        [mean, high - mean, mean - low], [2, 4.3027 / np.sqrt(3), 4.3027 / np.sqrt(3)], rtol=1e-4
    )
    mean, low, high = bootstrap.difference_over_seeds([0.7], [0.5])
    assert mean == pytest.approx(0.2) and np.isnan([low, high]).all()


def test_resamples_of_images():
    counts = bootstrap.resampled(30, resamples=400, seed=1)
    assert counts.shape == (400, 30) and (counts.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(counts, bootstrap.resampled(30, resamples=400, seed=1))
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 30) ** 30, abs=0.01), "as drawing with replacement has it"


def test_percentiles_of_a_mean_are_its_interval():
    values = np.random.default_rng(0).normal(0.6, 0.2, 500)
    means = bootstrap.resampled(500, resamples=2000) @ values / 500
    value, low, high = bootstrap.percentiles(values.mean(), means)
    assert (value, low, high) == pytest.approx(bootstrap.interval(values), abs=0.003)
    assert bootstrap.percentiles(0.5, [np.nan, 0.4, 0.4]) == pytest.approx((0.5, 0.4, 0.4))
    np.testing.assert_equal(bootstrap.percentiles(0.5, [np.nan]), (0.5, np.nan, np.nan))

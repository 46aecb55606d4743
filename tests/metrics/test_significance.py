"""Paired tests over seeds: against SciPy, known power, and the correction for several tests."""

import numpy as np
import pytest
from scipy import stats

from kerastransfer.metrics.significance import _detectable, holm, paired_test


def test_as_scipy_has_it():
    a, b = np.random.default_rng(0).normal(size=(2, 7))
    found, theirs = paired_test(a, b), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx((a - b).mean())


def test_a_single_seed_is_no_test():
    found = paired_test([0.9], [0.8])
    assert found.mean == pytest.approx(0.1)
    assert all(np.isnan(value) for value in (found.low, found.high, found.p, found.detectable))


def test_nans_are_left_out_and_equal_differences_are_certain():
    assert paired_test([1, 2, np.nan], [0, 1, 5]).p == 0
    assert paired_test([1, 2], [1, 2]).p == 1
    assert np.isnan(paired_test([np.nan], [1]).mean)
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_test([1, 2], [1])


@pytest.mark.parametrize(("number", "published"), [(5, 1.6828), (10, 0.9962), (30, 0.5292)])
def test_what_can_be_detected_is_in_tables_of_power(number, published):
    """Effect sizes of a two-sided paired t-test with a power of 0.8 (Cohen 1988; G*Power gives these)."""
    assert _detectable(number) == pytest.approx(published, rel=0.005)


def test_what_can_be_detected_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    differences = rng.normal(_detectable(4), 1, (4000, 4))
    found = stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert np.isnan(holm([np.nan, 0.02])[0]) and holm([np.nan, 0.02])[1] == pytest.approx(0.02)
    assert holm([]) == []

import numpy as np
import pytest

from kerastransfer.tasks.tolerance import TOLERANCES, Tolerance, row_by_row, where_rows_vary


def test_differences_are_over_all_images_and_elements():
    expected = [{"scores": np.zeros((2, 2), np.float32)}, {"scores": np.ones((2, 2), np.float32)}]
    got = [{"scores": np.array([[0, 0.4], [0, 0]], np.float32)}, {"scores": np.full((2, 2), 0.9, np.float32)}]
    assert row_by_row(expected, got) == {"scores": {"maximum": pytest.approx(0.4), "mean": pytest.approx(0.1)}}


def test_nan_stays_nan():
    found = row_by_row([{"scores": np.zeros(3)}], [{"scores": np.array([0, np.nan, 0])}])
    assert np.isnan(found["scores"]["maximum"]) and np.isnan(found["scores"]["mean"])


def test_where_a_row_may_vary_the_mean_is_limited():
    found = where_rows_vary(TOLERANCES)
    assert found.keys() == TOLERANCES.keys()
    assert found["float32"] == Tolerance(mean=0.011, unpaired=0.02)
    assert found["float16"] == Tolerance(mean=0.015, unpaired=0.02)
    assert found["int8"] == Tolerance(mean=pytest.approx(0.06), unpaired=0.2)

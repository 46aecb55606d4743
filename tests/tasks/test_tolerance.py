import numpy as np
import pytest

from kerastransfer.tasks.tolerance import TOLERANCES, Tolerance, on_images, row_by_row, where_rows_vary


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


@pytest.mark.parametrize(("images", "limit"), [(200, 0.01), (50, 0.01), (8, 0.025), (2, 0.05)])
def test_the_limit_of_the_metric_grows_as_its_standard_error(images, limit):
    limits = on_images({"int8": Tolerance(mean=0.05, unpaired=0.2), "float32": Tolerance(metric=None)}, images)
    assert limits["int8"].metric == pytest.approx(limit)
    assert limits["float32"].metric is None
    assert limits["int8"].mean == 0.05 and limits["int8"].unpaired == 0.2

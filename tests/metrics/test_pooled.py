"""IoU of a whole test set, and its interval over images."""

import numpy as np
import pytest
from sklearn import metrics

from kerastransfer.metrics import pooled
from kerastransfer.metrics.segmentation import confusion


def test_the_iou_of_classes_is_that_of_scikit_learn():
    truth, prediction = np.random.default_rng(0).integers(0, 4, (2, 30, 20))
    counted = pooled.counts(confusion(truth, prediction, 4))
    expected = metrics.jaccard_score(truth.ravel(), prediction.ravel(), average=None)
    np.testing.assert_allclose(pooled.class_iou(counted), expected)
    assert pooled.mean_iou(counted) == pytest.approx(expected.mean())


def test_a_class_that_is_nowhere_is_left_out_or_counts_as_nothing():
    """By hand: 2 of 3 pixels of class 0 and 1 of 2 of class 1 are right; class 2 is nowhere."""
    counted = pooled.counts(np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]]))
    np.testing.assert_allclose(pooled.class_iou(counted), [2 / 3, 1 / 2, np.nan])
    assert pooled.mean_iou(counted) == pytest.approx(7 / 12)
    assert pooled.mean_iou(counted, absent=0.0) == pytest.approx(7 / 18)
    assert np.isnan(pooled.mean_iou(np.zeros((3, 3))))


def test_sums_are_those_of_images_drawn_again():
    each = np.random.default_rng(0).integers(0, 50, (150, 2, 3))
    whole, drawn = pooled.resampled(iter(each), 150, resamples=400, seed=3)
    np.testing.assert_array_equal(whole, each.sum(axis=0))
    # Of constant counts every draw has the same sum, so each draw is of 150 images.
    np.testing.assert_array_equal(pooled.resampled(np.ones((150, 1)), 150, resamples=9)[1], np.full((9, 1), 150))
    np.testing.assert_array_equal(pooled.resampled(each, 150, resamples=400, seed=3)[1], drawn)
    np.testing.assert_allclose(drawn.mean(axis=0), whole, rtol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), each.std(axis=0) * np.sqrt(150), rtol=0.15)


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(1).normal(2, 1, 400)
    whole, drawn = pooled.resampled(values[:, None], 400, resamples=2000)
    low, high = pooled.ends(drawn[:, 0] / 400)
    half = 1.96 * values.std() / 20
    assert (float(low), float(high)) == pytest.approx((whole[0] / 400 - half, whole[0] / 400 + half), abs=0.15 * half)
    assert pooled.deviation(drawn / 400)[0] == pytest.approx(half / 1.96, rel=0.1)


def test_what_has_no_score_has_no_interval():
    drawn = np.array([[1.0, np.nan, np.nan], [3.0, np.nan, 5.0]])
    low, high = pooled.ends(drawn)
    np.testing.assert_allclose(low, [1.05, np.nan, 5.0])
    np.testing.assert_allclose(high, [2.95, np.nan, 5.0])
    np.testing.assert_allclose(pooled.deviation(drawn), [np.sqrt(2), np.nan, np.nan])


@pytest.mark.parametrize(
    ("given", "number", "message"),
    [
        (3, 4, "there are 3 images; 4 were announced"),
        (5, 4, "more than the 4 images"),
        (70, 64, "more than the 64 images"),
        (64, 70, "there are 64 images; 70 were announced"),
        (0, 0, "there is no image"),
        (0, 2, "there are 0 images; 2 were announced"),
    ],
)
def test_another_number_of_images_is_refused(given, number, message):
    with pytest.raises(ValueError, match=message):
        pooled.resampled(np.ones((given, 2)), number, resamples=3)

import numpy as np
import pytest
from sklearn import metrics

from kerastransfer.metrics import segmentation

CLASSES = ("background", "cat", "dog")


def test_confusion_equals_scikit_learn():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 40, 30))
    expected = metrics.confusion_matrix(truth.ravel(), prediction.ravel(), labels=range(5))
    np.testing.assert_array_equal(segmentation.confusion(truth, prediction, 5), expected)


def test_void_counts_nowhere():
    truth = np.array([[0, 1, 255], [1, 255, 0]], np.uint8)
    prediction = np.array([[0, 1, 2], [0, 2, 0]])
    np.testing.assert_array_equal(segmentation.confusion(truth, prediction, 3), [[2, 0, 0], [1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("averaged", ["iou", "dice"])
def test_per_image_equals_scikit_learn(averaged):
    """All classes present: the jaccard and F1 scores of the foreground, averaged."""
    rng = np.random.default_rng(1)
    truths, predictions = rng.integers(0, 3, (2, 6, 12, 9))
    reference = {"iou": metrics.jaccard_score, "dice": metrics.f1_score}[averaged]
    expected = [
        reference(t.ravel(), p.ravel(), labels=[1, 2], average="macro")
        for t, p in zip(truths, predictions, strict=True)
    ]
    np.testing.assert_allclose(segmentation.per_image(iter(truths), iter(predictions), 3)[averaged], expected)


def test_absent_classes_are_left_out():
    """By hand: a perfect cat, no dog anywhere; then half a cat; then nothing at all; then a false dog."""
    empty, cat = np.zeros((2, 2), int), np.array([[1, 1], [0, 0]])
    half, dog = np.array([[1, 0], [0, 0]]), np.array([[2, 0], [0, 0]])
    scores = segmentation.per_image([cat, cat, empty, empty], [cat, half, empty, dog], 3)
    np.testing.assert_allclose(scores["iou"], [1, 1 / 2, np.nan, 0])
    np.testing.assert_allclose(scores["dice"], [1, 2 / 3, np.nan, 0])

    summary = segmentation.summarise(scores, CLASSES)
    assert summary == pytest.approx(
        {
            "iou_mean": 0.5,
            "iou_median": 0.5,
            "iou_min": 0.0,
            "iou_max": 1.0,
            "dice_mean": 5 / 9,
            "iou_dataset": (3 / 4 + 0) / 2,
            "dice_dataset": (6 / 7 + 0) / 2,
            "iou/background": 11 / 13,
            "iou/cat": 3 / 4,
            "iou/dog": 0.0,
            "images": 3,
        }
    )


def test_the_median_of_an_even_number_is_the_upper_one():
    wholes = np.ones((4, 1, 4), int)
    predictions = np.array([[[1, 0, 0, 0]], [[1, 1, 0, 0]], [[1, 1, 1, 0]], [[1, 1, 1, 1]]])
    scores = segmentation.per_image(wholes, predictions, 2)
    assert segmentation.summarise(scores, CLASSES[:2])["iou_median"] == 0.75


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_to_score_is_nan_without_warning(images):
    maps = np.zeros((images, 3, 3), int)
    summary = segmentation.summarise(segmentation.per_image(maps, maps, 3), CLASSES)
    assert summary.pop("images") == 0
    background = summary.pop("iou/background")
    assert np.isnan([*summary.values()]).all()
    assert background == 1 if images else np.isnan(background)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"prediction holds 0\.\.3; classes are 0\.\.2"):
        segmentation.confusion(np.zeros((1, 2), int), np.array([[0, 3]]), 3)
    with pytest.raises(ValueError, match=r"\(1, 3\) pixels for a truth of \(1, 2\)"):
        segmentation.confusion(np.zeros((1, 2), int), np.zeros((1, 3), int), 3)
    with pytest.raises(ValueError, match="shorter"):
        segmentation.per_image(np.zeros((2, 1, 1), int), np.zeros((1, 1, 1), int), 2)


def test_pixel_auc_counts_pairs_in_order():
    """Of the 2 x 3 pairs of foreground and background, 4 are in order and one is a tie; void is in none."""
    truth = np.array([[1, 2, 0], [0, 0, segmentation.VOID]])
    scores = np.array([[0.9, 0.3, 0.3], [0.5, 0.1, 5.0]])
    assert segmentation.pixel_auc(truth, scores) == pytest.approx((3 + 1 + 0.5) / 6)
    assert segmentation.pixel_auc(truth, -scores) == pytest.approx(1 - 4.5 / 6)


def test_pixel_auc_needs_both_kinds():
    for value in (0, 1, segmentation.VOID):
        assert np.isnan(segmentation.pixel_auc(np.full((2, 2), value), np.zeros((2, 2))))

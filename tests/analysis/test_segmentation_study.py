"""The comparison of two segmenters."""

import numpy as np
import pytest
from sklearn import metrics

from kerastransfer.analysis import segmentation
from kerastransfer.analysis.material import Segmented
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID


def material(wrong=(0.1, 0.3), images=20, classes=3, occurring=3):
    random = np.random.default_rng(0)
    truths = random.integers(0, occurring, (images, 12, 12)).astype(np.uint8)
    found = {
        name: np.where(random.random(truths.shape) < share, (truths + 1) % occurring, truths)
        for name, share in zip(("detection", "classification"), wrong, strict=True)
    }
    truths[random.random(truths.shape) < 0.1] = VOID
    names = [str(number) for number in range(images)]
    labels = [f"class {k}" for k in range(classes)]
    return Segmented(names, labels, truths.__getitem__, {name: one.__getitem__ for name, one in found.items()})


def test_the_mean_is_that_of_one_confusion_matrix():
    given = material()
    findings = segmentation.study(segmentation.Settings(resamples=100), given, iter)
    for name, function in given.found.items():
        truth, prediction = (np.concatenate([one(i).ravel() for i in range(20)]) for one in (given.truth, function))
        each = metrics.jaccard_score(truth[truth != VOID], prediction[truth != VOID], average=None)
        assert findings.numbers[name]["iou_voc"] == pytest.approx(each.mean())
        assert [findings.numbers[name][f"iou/class {k}"] for k in range(3)] == pytest.approx(each)
    (claim,) = findings.claims
    assert claim.held is True
    first, second = (findings.numbers[name]["iou_voc"] for name in given.found)
    assert claim.difference.value == pytest.approx(first - second)
    assert claim.difference.low < first - second < claim.difference.high


def test_the_first_model_is_the_one_that_the_claim_is_about():
    assert segmentation.study(segmentation.Settings(), material((0.3, 0.1)), iter).claims[0].held is False
    same = segmentation.study(segmentation.Settings(), material((0.2, 0.2)), iter).claims[0]
    assert same.held is None and abs(same.difference.value) < 0.03


def test_classes_that_no_image_has_count_as_nothing_and_are_named():
    few, many = (
        segmentation.study(segmentation.Settings(), material(classes=classes, occurring=3), iter) for classes in (3, 6)
    )
    assert many.numbers["detection"]["iou_voc"] == pytest.approx(few.numbers["detection"]["iou_voc"] / 2)
    assert "No test image has class 3, class 4, class 5" in many.text[1] and len(few.text) == 1
    assert np.isnan(many.numbers["detection"]["iou/class 5"])


def test_a_single_image_has_no_uncertainty_over_images():
    findings = segmentation.study(segmentation.Settings(resamples=20), material(images=1), iter)
    difference = findings.claims[0].difference
    assert difference.low == difference.value == difference.high


def test_settings_that_cannot_be():
    with pytest.raises(UserError, match=r"--segmentation\.resamples is 0; it must be above 0"):
        segmentation.Settings(resamples=0)

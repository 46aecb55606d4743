"""The curve of average precision: closed forms of moved boxes, intervals, and what a claim is about."""

import dataclasses

import numpy as np
import pytest

from kerastransfer.analysis import detection
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.analysis.material import Detected
from kerastransfer.errors import UserError
from kerastransfer.metrics import voc


def material(shifts, images=40, classes=("cat", "dog"), seed=0):
    """Two objects of 10 x 10 in each image, found by each model with a shift of so many pixels: {model: (I, 2)}."""
    random = np.random.default_rng(seed)
    truths, found = [], {model: [] for model in shifts}
    for n in range(images):
        boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], float)
        labels = random.integers(0, 2, 2)
        truths.append({"boxes": boxes, "labels": labels, "difficult": np.zeros(2, bool)})
        for model, by in shifts.items():
            moved = boxes + np.array([0, 1, 0, 1]) * np.broadcast_to(by, (images, 2))[n][:, None]
            found[model].append({"boxes": moved, "labels": labels, "scores": random.uniform(size=2)})
    return Detected([str(n) for n in range(images)], classes, truths, found)


def test_a_shift_of_all_boxes_is_a_step():
    """Moved by 2 of 10 pixels, the IoU is 8 / 12."""
    numbers = detection.study(detection.Settings(), material({"a": 0, "b": 2})).numbers
    for kind in ("ap11", "ap_area"):
        assert [numbers["a"][f"{kind}/{at / 10:g}"] for at in range(1, 10)] == [1] * 9
        assert [numbers["b"][f"{kind}/{at / 10:g}"] for at in range(1, 10)] == [1] * 6 + [0] * 3


def test_the_claims():
    rng = np.random.default_rng(1)
    often, rarely = (rng.choice([0, 2], p=[1 - p, p], size=(40, 2)) for p in (0.2, 0.6))
    given = material({"a": often, "b": rarely})
    findings = detection.study(detection.Settings(), given)
    better, more = findings.claims
    numbers = findings.numbers
    assert better.difference.value == pytest.approx(numbers["a"]["ap11/0.7"] - numbers["b"]["ap11/0.7"])
    assert numbers["a"]["ap11/0.5"] == numbers["b"]["ap11/0.5"] == 1
    assert more.difference == better.difference, "at 0.5 both find everything"
    assert better.held is True and more.held is True
    given = dataclasses.replace(given, found={"b": given.found["b"], "a": given.found["a"]})
    turned = detection.study(detection.Settings(), given)
    assert [claim.held for claim in turned.claims] == [False, False]
    assert turned.claims[0].difference.value == -better.difference.value
    assert "of b minus that of a" in turned.claims[0].measured


def test_models_that_are_alike_decide_nothing():
    """The paired interval of equal models has no width, so that it is not above zero."""
    findings = detection.study(detection.Settings(), material({"a": 2, "b": 2}))
    assert [claim.difference.value for claim in findings.claims] == [0, 0]
    assert [claim.held for claim in findings.claims] == [False, False]


def test_the_interval_is_that_of_drawn_images():
    """The resamples against average precision of images that are really repeated."""
    rng = np.random.default_rng(2)
    given = material({"a": rng.uniform(0, 5, (12, 2)), "b": 1}, images=12)
    settings = detection.Settings(resamples=20, seed=3)
    matches = {model: voc.match(given.truths, found, 2) for model, found in given.found.items()}
    got = detection.resampled(settings, matches)["a", "ap_area", 0.5]
    weights = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=20)
    for value, often in zip(got, weights, strict=True):
        which = np.repeat(np.arange(12), often)
        repeated = ([side[n] for n in which] for side in (given.truths, given.found["a"]))
        assert value == pytest.approx(np.nanmean(voc.average_precision(*repeated, 2, 0.5, "area")))


def test_tables_and_figures():
    findings = detection.study(detection.Settings(thresholds=(0.25,)), material({"a": 0, "b": 2}))
    whole, classes = findings.tables
    assert [name for name, _ in whole.rows] == ["a", "b", "a minus b"]
    assert whole.columns == ["11-point, IoU 0.5", "11-point, IoU 0.7", "area, IoU 0.5", "area, IoU 0.7"]
    assert [cell.value for cell in whole.rows[2][1]] == [0, 1, 0, 1]
    assert [name for name, _ in classes.rows] == ["cat", "dog"]
    assert classes.rows[0][1] == [1, 1, 1, 0]
    ((name, figure, drawn),) = findings.figures
    assert name == "detection_by_iou" and figure.chart
    across, values = drawn.axes[0].lines[1].get_data()
    assert across.tolist() == [0.25, 0.5, 0.7] and list(values) == [1, 1, 0]


def test_classes_without_objects_are_named():
    findings = detection.study(detection.Settings(), material({"a": 0, "b": 0}, classes=("cat", "dog", "cow")))
    assert "No test image has an object of cow" in findings.text[1]
    assert findings.numbers["a"]["ap11/0.5"] == 1
    assert np.isnan(findings.tables[1].rows[2][1]).all()


def test_nothing_to_find():
    given = material({"a": 0, "b": 0}, images=3)
    for truth in given.truths:
        truth["difficult"][:] = True
    with pytest.raises(LeftOut, match="none of the 3 test images has an object to find"):
        detection.study(detection.Settings(), given)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"thresholds": (0.5, 1.0)}, "--detection.thresholds has 1; an IoU to be above is from 0 to below 1"),
        ({"thresholds": ()}, "--detection.thresholds is empty; give at least one"),
        ({"resamples": 3}, "--detection.resamples is 3; an interval needs 20 or more"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(UserError, match=message):
        detection.Settings(**wrong)

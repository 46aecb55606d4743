"""Rows of two models that are one detection."""

import numpy as np
import pytest

from kerastransfer.tasks import pairing

# Of the first the second covers 3/4, the third 1/2; the fourth lies apart.
BOXES = np.array([[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.3], [0, 0, 0.4, 0.2], [0.6, 0.6, 1, 1]], np.float32)


def outputs(boxes, scores, labels=None, room=4, mask=0.0):
    """Of an image: so many rows as there are scores, and room for `room`."""
    count = len(scores)
    empty = room - count
    return {
        "boxes": np.concatenate([BOXES[list(boxes)], np.zeros((empty, 4), np.float32)]),
        "scores": np.pad(np.float32(scores), (0, empty)),
        "labels": np.pad(np.float32(labels or [0] * count), (0, empty), constant_values=-1),
        "masks": np.full((room, 2, 2), mask, np.float32),
        "count": np.float32(count),
    }


def test_iou_by_hand():
    np.testing.assert_allclose(pairing.iou(BOXES[:1], BOXES), [[1, 0.75, 0.5, 0]], rtol=1e-6)
    assert pairing.iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0
    assert pairing.iou(np.zeros((0, 4)), BOXES).shape == (0, 4)


def test_rows_that_swap_places_are_paired():
    one, other = outputs([0, 3], [0.9, 0.8]), outputs([3, 0], [0.85, 0.84], mask=0.25)
    assert list(pairing.pairs(one, other, 0.5)) == [(0, 1), (1, 0)]
    found, counts = pairing.differences([one], [other], 0.5)
    assert found["boxes"] == {"maximum": 0, "mean": 0}
    assert found["scores"]["maximum"] == pytest.approx(0.06)
    assert found["scores"]["mean"] == pytest.approx(0.055)
    assert found["masks"]["maximum"] == 0.25
    assert counts == {"detections": 2, "missing": 0, "extra": 0}


def test_the_nearest_box_of_the_same_label_is_the_partner():
    one = outputs([0], [0.9], [1])
    assert list(pairing.pairs(one, outputs([2, 1, 0], [0.9, 0.8, 0.7], [1, 1, 0]), 0.5)) == [(0, 1)]
    assert list(pairing.pairs(one, outputs([0], [0.9], [0]), 0.5)) == []
    assert list(pairing.pairs(outputs([0, 0], [0.9, 0.8]), outputs([0], [0.9]), 0.5)) == [(0, 0)], "each once"


def test_weak_rows_are_one_only_where_they_agree():
    weak, moved = outputs([0], [0.2]), outputs([1], [0.2])
    assert list(pairing.pairs(weak, moved, 0.5)) == []
    assert list(pairing.pairs(weak, weak, 0.5)) == [(0, 0)]
    assert list(pairing.pairs(weak, outputs([1], [0.6]), 0.5)) == [(0, 0)], "one of them is strong"
    assert pairing.differences([weak], [moved], 0.5)[1] == {"detections": 0, "missing": 0, "extra": 0}


def test_what_is_lost_and_what_is_new_counts():
    one, other = outputs([0, 3], [0.9, 0.8]), outputs([0], [0.9])
    assert pairing.differences([one], [other], 0.5)[1] == {"detections": 2, "missing": 1, "extra": 0}
    assert pairing.differences([other], [one], 0.5)[1] == {"detections": 1, "missing": 0, "extra": 1}
    assert pairing.differences([one, one], [other, one], 0.5)[1] == {"detections": 4, "missing": 1, "extra": 0}


def test_the_last_row_may_fall_to_the_limit_of_rows():
    one, other = outputs([0, 3], [0.9, 0.8], room=2), outputs([0, 2], [0.9, 0.8002], [0, 1], room=2)
    assert pairing.differences([one], [other], 0.5)[1] == {"detections": 2, "missing": 0, "extra": 0}
    spare = outputs([0, 2], [0.9, 0.8002], [0, 1], room=3)
    assert pairing.differences([one], [spare], 0.5)[1] == {"detections": 2, "missing": 1, "extra": 0}
    worse = outputs([0, 2], [0.9, 0.7], [0, 1], room=2)
    assert pairing.differences([one], [worse], 0.5)[1] == {"detections": 2, "missing": 1, "extra": 0}


def test_nothing_found_is_no_difference_and_no_number_is_one():
    nothing = outputs([], [])
    found, counts = pairing.differences([nothing], [nothing], 0.5)
    assert set(found) == {"boxes", "scores", "masks"}
    assert all(values == {"maximum": 0, "mean": 0} for values in found.values())
    assert counts == {"detections": 0, "missing": 0, "extra": 0}
    broken = outputs([], [], mask=np.nan)
    found, _ = pairing.differences([nothing], [broken], 0.5)
    assert np.isnan(found["masks"]["maximum"]) and np.isnan(found["masks"]["mean"])

import detection_references as references
import numpy as np
import pytest
from keras import ops

from kerastransfer.codecs.matching import by_overlap
from kerastransfer.ops.boxes import pairwise_iou


def matched(boxes, labels, anchors, **options):
    found = by_overlap(
        ops.convert_to_tensor(boxes, "float32"),
        ops.convert_to_tensor(labels, "int32"),
        ops.convert_to_tensor(anchors, "float32"),
        **options,
    )
    return [ops.convert_to_numpy(values) for values in found]


def test_thresholds_by_hand():
    """Background below 0.25, ignored up to 0.75; an overlap that equals a threshold is above it."""
    anchors = [[0, 0, 8, 8], [0, 0, 8, 6], [0, 0, 8, 4], [0, 0, 8, 2], [0, 0, 8, 1]]
    state, boxes, labels = matched([[[0, 0, 8, 8]]], [[4]], anchors, low=0.25, high=0.75, best_of_each=False)
    np.testing.assert_array_equal(state, [[1, 1, -1, -1, 0]])
    np.testing.assert_array_equal(labels, [[4] * 5])
    np.testing.assert_array_equal(boxes, [[[0, 0, 8, 8]] * 5])


def test_the_best_anchors_of_each_object_learn():
    """Of object 0 two are equally good; object 1 meets none; object 2 is padding, whatever it overlaps."""
    objects = [[[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 2]]]
    anchors = [[0, 0, 10, 2], [0, 8, 10, 10], [0, 0, 10, 1], [20, 20, 30, 30]]
    state, _, labels = matched(objects, [[5, 1, -1]], anchors, low=0.3, high=0.7)
    np.testing.assert_array_equal(state, [[1, 1, 0, 0]])
    np.testing.assert_array_equal(labels[0, :2], [5, 5])


@pytest.mark.parametrize("best_of_each", [False, True])
def test_equals_a_loop(best_of_each):
    """Of more objects than are looked at at a time, on a grid that gives many equal overlaps."""
    random = np.random.default_rng(0)
    boxes = random.integers(0, 6, (2, 70, 4)).astype("float32")
    boxes[..., 2:] += boxes[..., :2] + 1
    anchors = random.integers(0, 6, (40, 4)).astype("float32")
    anchors[:, 2:] += anchors[:, :2] + 1
    labels = random.integers(-1, 3, (2, 70))
    labels[1, 9:] = -1
    state, owners, kinds = matched(boxes, labels, anchors, low=0.4, high=0.7, best_of_each=best_of_each)
    overlaps = ops.convert_to_numpy(pairwise_iou(ops.convert_to_tensor(boxes), ops.convert_to_tensor(anchors)))
    for image in range(2):
        real = np.flatnonzero(labels[image] >= 0)
        own = overlaps[image, real]
        for anchor in range(40):
            best = own[:, anchor].max()
            wanted = 1 if best >= np.float32(0.7) else 0 if best < np.float32(0.4) else -1
            if best_of_each and any(row[anchor] == row.max() > 0 for row in own):
                wanted = 1
            assert state[image, anchor] == wanted
            owner = real[own[:, anchor].argmax()]
            assert kinds[image, anchor] == labels[image, owner]
            np.testing.assert_array_equal(owners[image, anchor], boxes[image, owner])


def test_no_objects_at_all():
    state, _, labels = matched(np.ones((1, 2, 4)), [[-1, -1]], np.ones((3, 4)), low=0.4, high=0.5)
    np.testing.assert_array_equal(state, [[0, 0, 0]])
    np.testing.assert_array_equal(labels, [[-1, -1, -1]])


@pytest.mark.parametrize("best_of_each", [False, True])
def test_as_torchvision_matches(best_of_each):
    boxes, anchors = references.matching_inputs().values()
    expected = references.expected("matching")[str(best_of_each)]
    options = {"low": 0.4, "high": 0.5, "best_of_each": best_of_each}
    state, owners, _ = matched(boxes[None], [np.arange(7)], anchors, **options)
    np.testing.assert_array_equal(state[0], np.where(expected >= 0, 1, np.where(expected == -1, 0, -1)))
    learnt = expected >= 0
    assert 5 < learnt.sum() < 200
    np.testing.assert_array_equal(owners[0][learnt], boxes[expected[learnt]])

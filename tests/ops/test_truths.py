import numpy as np
import pytest
from keras import ops

from kerastransfer.ops.truths import fold, packed

# The second image is the fuller one.
LABELS = np.array([[-1, 3, -1, -1, 5, 6, -1, -1, -1], [1, -1, 2, 3, 4, -1, 5, -1, -1]], "int32")
BOXES = np.arange(2 * 9 * 4, dtype="float32").reshape(2, 9, 4)


def test_objects_come_first_in_their_order():
    boxes, labels = (np.array(values) for values in packed(BOXES, LABELS))
    np.testing.assert_array_equal(labels, [[3, 5, 6] + [-1] * 6, [1, 2, 3, 4, 5] + [-1] * 4])
    for image in range(2):
        there = LABELS[image] >= 0
        np.testing.assert_array_equal(boxes[image, : there.sum()], BOXES[image, there])


@pytest.mark.parametrize(("block", "calls"), [(2, 3), (3, 2), (5, 1), (9, 1), (50, 1)])
def test_blocks_go_as_far_as_the_fullest_image(block, calls):
    """Sum of (number + 1) * label over the objects, and how many blocks were looked at."""

    def step(value, boxes, labels, first):
        total, seen = value
        numbers = ops.cast(first + ops.arange(labels.shape[1]) + 1, "float32")
        worth = ops.where(labels >= 0, ops.cast(labels, "float32") * numbers + boxes[..., 0] * 0, 0.0)
        return total + ops.sum(worth, axis=1), seen + 1

    start = ops.zeros((2,)), ops.convert_to_tensor(0, "int32")
    total, seen = fold(step, start, *packed(BOXES, LABELS), block=block)
    np.testing.assert_array_equal(total, [3 + 10 + 18, 1 + 4 + 9 + 16 + 25])
    assert int(seen) == calls


def test_no_objects_at_all():
    assert float(fold(lambda value, *_: value + 1, ops.convert_to_tensor(0.0), BOXES, LABELS * 0 - 1, block=4)) == 0

"""Boxes against hand-computed cases and torchvision."""

import detection_references as references
import numpy as np
from keras import ops

from kerastransfer.ops import boxes


def array(tensor):
    return ops.convert_to_numpy(tensor)


def test_centres_and_corners_are_inverses():
    corners = np.array([[[0.1, 0.2, 0.5, 0.4], [0, 0, 1, 1], [0.3, 0.3, 0.3, 0.3]]], "float32")
    centres = boxes.to_centres(ops.convert_to_tensor(corners))
    np.testing.assert_allclose(array(centres)[0, 0], [0.3, 0.3, 0.4, 0.2], atol=1e-6)
    np.testing.assert_allclose(array(boxes.to_corners(centres)), corners, atol=1e-6)


def test_darknets_numbers_and_back():
    corners = np.array([[[0.1, 0.2, 0.5, 0.4], [0, 0, 1, 1], [0.3, 0.3, 0.3, 0.3]]], "float32")
    xywh = boxes.to_xywh(ops.convert_to_tensor(corners))
    np.testing.assert_allclose(array(xywh)[0, 0], [0.3, 0.3, 0.2, 0.4], atol=1e-6)
    np.testing.assert_allclose(array(boxes.from_xywh(xywh)), corners, atol=1e-6)
    np.testing.assert_allclose(array(boxes.to_xywh(ops.convert_to_tensor([[0.0, 2, 4, 8]])))[0], [5, 2, 6, 4])


def test_deltas_by_hand():
    """An anchor 4 high and 2 wide at (2, 1); the box is as wide, twice as high, half a height lower."""
    found = array(boxes.deltas(ops.convert_to_tensor([[0.0, 0, 8, 2]]), ops.convert_to_tensor([[0.0, 0, 4, 2]])))
    np.testing.assert_allclose(found, [[0.5, 0, np.log(2), 0]], atol=1e-6)


def test_deltas_take_any_anchor_to_any_box():
    random = np.random.default_rng(0)
    near = random.uniform(0, 50, (2, 30, 1, 2))
    some = np.concatenate([near, near + random.uniform(1, 50, near.shape)], -1).astype("float32")
    anchors = np.moveaxis(some[:1, :20], 1, 2)  # every pair of a box and an anchor
    back = boxes.apply_deltas(boxes.deltas(some, anchors), anchors)
    np.testing.assert_allclose(array(back), np.broadcast_to(some, (2, 30, 20, 4)), atol=1e-3)
    zero = boxes.apply_deltas(np.zeros((1, 1, 20, 4), "float32"), anchors)
    np.testing.assert_allclose(array(zero), anchors, rtol=1e-5, atol=1e-5)


def test_deltas_of_an_untrained_network_stay_finite():
    found = array(boxes.apply_deltas(np.array([[0, 0, 800.0, 5]], "float32"), np.array([[0, 0, 2.0, 2]], "float32")))
    np.testing.assert_allclose(found[0, 2] - found[0, 0], 2 * boxes.LARGEST, rtol=1e-5)
    assert np.isfinite(found).all()


def test_area_of_a_box_turned_inside_out_is_zero():
    cases = ops.convert_to_tensor([[0, 0, 2, 3], [2, 0, 0, 3], [2, 3, 0, 0], [1, 1, 1, 5]], dtype="float32")
    np.testing.assert_array_equal(array(boxes.area(cases)), [6, 0, 0, 0])


def test_iou_by_hand():
    one = ops.convert_to_tensor([[0, 0, 2, 2]] * 5, dtype="float32")
    other = ops.convert_to_tensor(
        [
            [0, 0, 2, 2],  # the same
            [1, 1, 3, 3],  # a quarter of each: 1 / 7
            [2, 0, 4, 2],  # touching
            [0.5, 0.5, 1.5, 1.5],  # inside: 1 / 4
            [3, 3, 1, 1],  # inside out
        ],
        dtype="float32",
    )
    np.testing.assert_allclose(array(boxes.iou(one, other)), [1, 1 / 7, 0, 1 / 4, 0], atol=1e-6)


def test_iou_of_boxes_without_area_is_zero():
    nothing = ops.zeros((2, 4))
    np.testing.assert_array_equal(array(boxes.iou(nothing, nothing)), [0, 0])


def test_pairwise_iou_is_iou_of_each_pair():
    random = np.random.default_rng(0)
    a, b = (np.sort(random.random((3, n, 2, 2)), axis=2).reshape(3, n, 4).astype("float32") for n in (5, 4))
    pairs = array(boxes.pairwise_iou(a, b))
    assert pairs.shape == (3, 5, 4)
    for i in range(5):
        for j in range(4):
            np.testing.assert_allclose(pairs[:, i, j], array(boxes.iou(a[:, i], b[:, j])), atol=1e-6)


def test_ciou_by_hand():
    """Equal boxes; one beside the other, of like shape; one in the middle of the other, of unlike shape."""
    one = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 4, 4]], "float32")
    other = np.array([[0, 0, 2, 2], [0, 2, 2, 4], [1, 0, 3, 4]], "float32")
    unlike = 4 / np.pi**2 * (np.arctan(1) - np.arctan(2)) ** 2  # width over height: 1 and 2
    shapes = 0.5 - unlike * unlike / (1 - 0.5 + unlike)
    np.testing.assert_allclose(array(boxes.ciou(one, other)), [1, 0 - 4 / 20, shapes], atol=1e-5)


def test_giou_by_hand():
    """Squares of side 2. The smallest box around both is as large as: itself, 9 with 7 covered, 8 with 8, 12 with 8."""
    one = ops.convert_to_tensor([[0, 0, 2, 2]] * 4, dtype="float32")
    other = ops.convert_to_tensor([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [4, 0, 6, 2]], dtype="float32")
    np.testing.assert_allclose(array(boxes.giou(one, other)), [1, 1 / 7 - 2 / 9, 0, -4 / 12], atol=1e-6)


def test_giou_is_that_of_torchvision():
    found = array(boxes.giou(*references.giou_inputs().values()))
    np.testing.assert_allclose(found, references.expected("giou")["giou"], rtol=1e-4, atol=1e-5)

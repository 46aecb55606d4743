import math

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.codecs.yolov3 import YoloV3Codec

ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119))
LEVELS = (("p4", 16, (0, 1, 2)), ("p5", 32, (3, 4, 5)))
GRIDS = [(8, 6), (4, 3)]  # an input of 128 x 96
CODEC = YoloV3Codec(2, ANCHORS, LEVELS)
NEAR = YoloV3Codec(2, ANCHORS, LEVELS, ratio=4.0, reach=0.5, sway=2.0)


def raw_maps(seed=0, batch=2):
    random = np.random.default_rng(seed)
    return {
        name: random.normal(size=(batch, *grid, 3 * 7)).astype("float32")
        for (name, _, _), grid in zip(LEVELS, GRIDS, strict=True)
    }


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def places():
    """(level, row, column, number among the level's anchors, anchor) of every candidate, in the codec's order."""
    for number, (_, stride, mask) in enumerate(LEVELS):
        rows, columns = GRIDS[number]
        for row in range(rows):
            for column in range(columns):
                for k, anchor in enumerate(mask):
                    yield number, stride, row, column, k, anchor


def test_decode_is_the_formula_of_darknet_candidate_by_candidate():
    maps = raw_maps()
    boxes, scores = map(ops.convert_to_numpy, CODEC.decode(maps))
    assert boxes.shape == (2, 8 * 6 * 3 + 4 * 3 * 3, 4)
    for index, (level, _, row, column, k, anchor) in enumerate(places()):
        rows, columns = GRIDS[level]
        t = maps[LEVELS[level][0]][1, row, column].reshape(3, 7)[k]
        x, y = (column + sigmoid(t[0])) / columns, (row + sigmoid(t[1])) / rows
        w, h = math.exp(t[2]) * ANCHORS[anchor][0] / 96, math.exp(t[3]) * ANCHORS[anchor][1] / 128
        wanted = np.clip([y - h / 2, x - w / 2, y + h / 2, x + w / 2], 0, 1)
        np.testing.assert_allclose(boxes[1, index], wanted, atol=1e-5)
        np.testing.assert_allclose(scores[1, index], [sigmoid(t[4]) * sigmoid(c) for c in t[5:]], atol=1e-6)


def test_anchors_do_not_grow_with_the_input():
    maps = raw_maps()
    larger = {name: np.tile(value, (1, 2, 2, 1)) for name, value in maps.items()}
    small, large = (ops.convert_to_numpy(CODEC.decode(m)[0]) for m in (maps, larger))
    first = small[0, 0]
    np.testing.assert_allclose(large[0, 0, 2:] * 2, first[2:], atol=1e-5)  # in pixels the same box


def learnt(codec, boxes, labels):
    """Indices of candidates that learn something, by `places`."""
    targets = codec.encode(np.array([boxes], "float32"), np.array([labels]), GRIDS)
    state = ops.convert_to_numpy(targets["state"])[0]
    return [place for place, one in zip(places(), state, strict=True) if one], targets


def test_the_anchor_of_the_nearest_shape_learns_an_object_in_its_own_cell():
    box = np.array([40 - 15, 50 - 8, 40 + 15, 50 + 8]) / [128, 96, 128, 96]  # h 30, w 16: anchor 1
    found, targets = learnt(CODEC, [box, [0, 0, 0, 0]], [1, -1])
    assert found == [(0, 16, 2, 3, 1, 1)]  # cell of y 40 and x 50
    index = list(places()).index(found[0])
    np.testing.assert_allclose(targets["boxes"][0, index], box, atol=1e-6)
    np.testing.assert_array_equal(targets["classes"][0, index], [0, 1])
    assert float(ops.sum(targets["classes"])) == 1


def test_of_two_objects_at_one_candidate_the_later_is_learnt_and_the_classes_of_both():
    first = np.array([25, 42, 55, 58]) / [128, 96, 128, 96]
    second = first + 0.001
    found, targets = learnt(CODEC, [first, second], [0, 1])
    assert len(found) == 1
    index = list(places()).index(found[0])
    np.testing.assert_allclose(targets["boxes"][0, index], second, atol=1e-6)
    np.testing.assert_array_equal(targets["classes"][0, index], [1, 1])


def test_an_anchor_in_no_level_learns_nothing():
    codec = YoloV3Codec(2, ANCHORS, (("p4", 16, (1, 2)), ("p5", 32, (3, 4, 5))))
    box = np.array([[[40, 40, 53, 50]]]) / [128, 96, 128, 96]  # the shape of anchor 0
    assert float(ops.sum(codec.encode(box, np.array([[0]]), GRIDS)["state"])) == 0


def test_ratio_and_reach_give_an_object_to_more_candidates():
    box = np.array([40 - 15, 50 - 8, 40 + 15, 50 + 8]) / [128, 96, 128, 96]
    found, _ = learnt(NEAR, [box], [0])
    # Shapes within a factor of 4 of 16 x 30: anchors 0, 1, 2, 3 and 4, and 5 (3.7, 3.97).
    assert {anchor for *_, anchor in found} == {0, 1, 2, 3, 4, 5}
    # x 50 is 3.125 cells of 16, y 40 is 2.5: the border of column 2 is near, of row 1 and 3 just so (0.5 cells).
    cells = {(row, column) for level, _, row, column, _, _ in found if level == 0}
    assert cells == {(2, 3), (2, 2), (1, 3), (3, 3), (1, 2), (3, 2)}
    # In cells of 32: x 1.5625, y 1.25.
    cells = {(row, column) for level, _, row, column, _, _ in found if level == 1}
    assert cells == {(1, 1), (1, 2), (0, 1), (0, 2)}


def test_the_cell_of_the_centre_comes_before_a_neighbour():
    codec = YoloV3Codec(2, ANCHORS[:1], (("p4", 16, (0,)),), reach=1.0, sway=3.0)
    boxes = np.array([[[10, 10, 23, 20], [10, 26, 23, 36]]]) / [128, 96, 128, 96]  # neighbours, x 15 and 31
    for order in ([0, 1], [1, 0]):
        targets = codec.encode(boxes[:, order], np.array([[0, 1]])[:, order], [(8, 6)])
        by_cell = ops.convert_to_numpy(ops.reshape(targets["boxes"], (8, 6, 4)))
        np.testing.assert_allclose(by_cell[1, 0], boxes[0, 0], atol=1e-6)
        np.testing.assert_allclose(by_cell[1, 1], boxes[0, 1], atol=1e-6)


@pytest.mark.parametrize("codec", [CODEC, NEAR], ids=["darknet", "neighbours"])
def test_decode_inverts_encode(codec):
    random = np.random.default_rng(3)
    quarters = np.array([[0, 0], [0, 0.5], [0.5, 0], [0.5, 0.5], [0, 0], [0, 0]])  # so that no two share a cell
    near, sides = quarters + random.uniform(0, 0.1, (4, 6, 2)), random.uniform(0.1, 0.35, (4, 6, 2))
    boxes = np.concatenate([near, near + sides], -1).astype("float32")
    labels = random.integers(0, 2, (4, 6))
    labels[:, 4:] = -1
    targets = codec.encode(boxes, labels, GRIDS)
    priors = codec.priors(GRIDS)
    wanted = codec.parameters(targets["boxes"], priors)
    xy = ops.clip(wanted[..., :2], 1e-6, 1 - 1e-6)
    raw = ops.concatenate([ops.log(xy / (1 - xy)), wanted[..., 2:]], -1)
    decoded = ops.convert_to_numpy(codec.corners(raw, priors))
    state = ops.convert_to_numpy(targets["state"]) > 0
    np.testing.assert_allclose(decoded[state], ops.convert_to_numpy(targets["boxes"])[state], atol=1e-5)
    for image in range(4):
        for box in boxes[image, :4]:  # nothing was lost: each object is at some candidate
            assert np.abs(decoded[image][state[image]] - box).max(-1).min() < 1e-5


def test_a_codec_is_stored_and_read_again():
    assert YoloV3Codec.from_config(NEAR.get_config()) == NEAR
    assert YoloV3Codec(2, [list(a) for a in ANCHORS], [list(level) for level in LEVELS]) == CODEC
    with pytest.raises(ValueError, match="reach"):
        YoloV3Codec(2, ANCHORS, LEVELS, reach=2)


def test_levels_of_boxes_and_of_candidates():
    boxes = np.array([[[0, 0, 13, 10], [0, 0, 119, 59], [0, 0, 0, 0]]]) / [128, 96, 128, 96]  # anchors 0 and 5; padding
    assert ops.convert_to_numpy(CODEC.levels_of(boxes, (128, 96))).tolist() == [[0, 1, 0]]
    numbers = np.array([[0, 143, 144, 179]])  # the finer grid has 8 * 6 * 3 candidates
    assert ops.convert_to_numpy(CODEC.levels_of_candidates(numbers, GRIDS)).tolist() == [[0, 0, 1, 1]]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX has no graph for unknown shapes")
def test_inputs_of_any_size_in_one_graph():
    """As multi-scale training has them: the graph knows no size, and says what it says of each."""
    import tensorflow as tf

    from kerastransfer.losses.yolov3 import yolov3_loss

    terms = yolov3_loss(NEAR, "ciou")

    def step(maps, boxes, labels):
        return {**terms({"boxes": boxes, "labels": labels}, maps), "decoded": NEAR.decode(maps)[0]}

    unknown = {name: tf.TensorSpec((2, None, None, 3 * 7)) for name, _, _ in LEVELS}
    graph = tf.function(step, input_signature=[unknown, tf.TensorSpec((2, 3, 4)), tf.TensorSpec((2, 3), tf.int32)])
    boxes = np.array([[[0.1, 0.2, 0.5, 0.6], [0.3, 0.1, 0.9, 0.4], [0, 0, 0, 0]]] * 2, "float32")
    labels = np.array([[0, 1, -1]] * 2, "int32")
    for rows, columns in ((4, 3), (1, 1), (2, 5)):
        random = np.random.default_rng(rows)
        maps = {
            name: random.normal(size=(2, rows * scale, columns * scale, 3 * 7)).astype("float32")
            for name, scale in (("p4", 2), ("p5", 1))
        }
        for name, value in step(maps, boxes, labels).items():
            np.testing.assert_allclose(graph(maps, boxes, labels)[name], value, rtol=1e-4, err_msg=name)


def test_each_level_has_its_own_sway():
    """A cell's range of centres is `sway` cells around its own middle: at 0 of a sigmoid half of what is beyond 1."""
    levels = (("p4", 16, (0,)), ("p5", 32, (0,)))
    codec = YoloV3Codec(1, ANCHORS[:1], levels, sway=[1.2, 1.05])
    assert codec.sway == (1.2, 1.05) and YoloV3Codec.from_config(codec.get_config()) == codec
    grids = [(2, 2), (1, 1)]
    low = np.full((1, 5, 4), -100, "float32")
    low[..., 2:] = 0
    corners = np.array(codec.corners(low, codec.priors(grids)))
    centre = (corners[0, :, 1] + corners[0, :, 3]) / 2 * 32
    np.testing.assert_allclose(centre[[0, 4]], [-0.1 * 16, -0.025 * 32], atol=1e-4)
    boxes = np.array([[[0.1, 0.2, 0.4, 0.5]]], "float32").repeat(5, 1)
    parameters = np.array(codec.parameters(boxes, codec.priors(grids)))
    assert parameters[0, 4, 0] == pytest.approx((0.35 + 0.025) / 1.05, abs=1e-5)
    assert YoloV3Codec(1, ANCHORS[:1], levels, sway=(1.2, 1.2)).sway == 1.2
    with pytest.raises(ValueError, match="one for each of the 2 levels"):
        YoloV3Codec(1, ANCHORS[:1], levels, sway=(1.2,))

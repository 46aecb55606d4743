"""YOLOv1's codec: decoding inverts encoding, and hand-built vectors."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.codecs.yolov1 import YoloV1Codec

SIZES = ("cell", "image", "root")
SCORES = ("confidence", "product")


def array(tensor):
    return ops.convert_to_numpy(tensor)


def whole(function):
    """JAX takes long to compile each operation by itself."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def encoded(codec, boxes, labels, grid):
    """Targets of one image."""
    boxes, labels = np.array([boxes], "float32").reshape(1, -1, 4), np.array([labels], "int32")
    targets = whole(lambda boxes, labels: codec.encode(boxes, labels, grid))(boxes, labels)
    return {name: array(value) for name, value in targets.items()}


def decoded(codec, predictions):
    """Boxes and scores of one image."""
    return [array(value)[0] for value in whole(codec.decode)(ops.convert_to_tensor(predictions, "float32"))]


def perfect(codec, targets):
    """The predictions of a network that has learnt the targets by heart."""
    classes, state = targets["classes"], targets["state"][..., None]
    if codec.layout == "cells":
        box = np.concatenate([state, targets["boxes"]], -1)
        return np.concatenate([classes] + [box] * codec.boxes_per_cell, -1).astype("float32")
    confidences = np.repeat(state, codec.boxes_per_cell, -1)
    boxes = np.repeat(targets["boxes"][..., None, :], codec.boxes_per_cell, -2)
    flat = [values.reshape(len(values), -1) for values in (classes, confidences, boxes)]
    return np.concatenate(flat, -1).astype("float32")


def scene(grid, objects, classes, seed=0):
    """Boxes with centres in different cells, in order of the cells; their classes."""
    random = np.random.default_rng(seed)
    rows, columns = grid
    cells = np.sort(random.permutation(rows * columns)[:objects])
    centres = (np.stack([cells // columns, cells % columns], -1) + random.uniform(0.05, 0.95, (objects, 2))) / grid
    half = np.minimum(random.uniform(0.02, 0.4, (objects, 2)), np.minimum(centres, 1 - centres))
    return np.concatenate([centres - half, centres + half], -1), random.integers(0, classes, objects)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("sizes", "layout", "grid"),
    [(sizes, "darknet", (7, 7)) for sizes in SIZES]
    + [(sizes, "cells", grid) for sizes, grid in itertools.product(SIZES, [(7, 7), (3, 5), (6, 2)])],
)
def test_decode_inverts_encode(sizes, layout, grid, score):
    codec = YoloV1Codec(num_classes=4, boxes_per_cell=3, sizes=sizes, layout=layout, score=score)
    boxes, labels = scene(grid, 6, 4)
    targets = encoded(codec, [*boxes, [0] * 4, [0] * 4], [*labels, -1, -1], grid)
    found, scores = decoded(codec, perfect(codec, targets))
    per_cell = 1 if score == "confidence" else 3
    assert found.shape == (grid[0] * grid[1] * per_cell, 4) and scores.shape == (len(found), 4)
    best = scores.max(-1) > 0.5
    np.testing.assert_allclose(found[best], np.repeat(boxes, per_cell, 0), atol=1e-6)
    np.testing.assert_array_equal(scores[best].argmax(-1), np.repeat(labels, per_cell))
    np.testing.assert_array_equal(scores[~best], 0)


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [("cell", [0.5, 0.25, 1.0, 2.0]), ("image", [0.5, 0.25, 0.25, 0.5]), ("root", [0.5, 0.25, 0.5, 0.5**0.5])],
)
def test_targets_by_hand(sizes, wanted):
    """Centre (y, x) = (0.5625, 0.375) of a 4 x 4 grid: row 2, column 1, offsets x = 0.5, y = 0.25; w 1/4, h 1/2."""
    codec = YoloV1Codec(num_classes=3, sizes=sizes)
    targets = encoded(codec, [[0.3125, 0.25, 0.8125, 0.5]], [2], (4, 4))
    state = np.zeros((1, 4, 4))
    state[0, 2, 1] = 1
    np.testing.assert_array_equal(targets["state"], state)
    np.testing.assert_allclose(targets["boxes"][0, 2, 1], wanted, atol=1e-6)
    np.testing.assert_array_equal(targets["classes"][0, 2, 1], [0, 0, 1])
    assert not targets["boxes"][state == 0].any() and not targets["classes"][state == 0].any()


def test_rows_and_columns_of_a_grid_that_is_not_square():
    """Centre (y, x) = (0.5, 0.7) on 2 rows, 5 columns: row 1, column 3, offsets x 0.5, y 0; w 1, h 0.4 in cells."""
    targets = encoded(YoloV1Codec(num_classes=1), [[0.4, 0.6, 0.6, 0.8]], [0], (2, 5))
    assert targets["state"].shape == (1, 2, 5) and targets["state"][0, 1, 3] == 1
    np.testing.assert_allclose(targets["boxes"][0, 1, 3], [0.5, 0, 1, 0.4], atol=1e-5)


def test_the_first_object_of_a_cell_wins():
    boxes = [[0.1, 0.1, 0.3, 0.3], [0.05, 0.05, 0.4, 0.4], [0.6, 0.6, 0.9, 0.9]]
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        targets = encoded(YoloV1Codec(num_classes=3), [boxes[i] for i in order], order, (2, 2))
        first = next(i for i in order if i < 2)
        assert targets["classes"][0, 0, 0].argmax() == first and targets["state"].sum() == 2
        side = boxes[first][2] - boxes[first][0]
        np.testing.assert_allclose(targets["boxes"][0, 0, 0, 2:], [2 * side] * 2, atol=1e-6)


@pytest.mark.parametrize("reach", [0.0, 0.5])
def test_padding_owns_no_cell(reach):
    codec = YoloV1Codec(num_classes=2, reach=reach)
    targets = encoded(codec, [[0, 0, 0, 0], [0.1, 0.1, 0.2, 0.2], [0, 0, 0, 0]], [-1, 1, -1], (3, 3))
    assert targets["state"][0, 0, 0] == 1 and targets["classes"][0, 0, 0, 1] == 1
    empty = encoded(codec, [[0, 0, 0, 0], [0.4, 0.4, 0.5, 0.5]], [-1, -1], (3, 3))
    assert not any(value.any() for value in empty.values())


def test_a_centre_on_the_far_border_belongs_to_the_last_cell():
    targets = encoded(YoloV1Codec(num_classes=1), [[1, 1, 1, 1], [0, 0, 0, 0]], [0, 0], (3, 4))
    assert targets["state"][0, 2, 3] == targets["state"][0, 0, 0] == 1 and targets["state"].sum() == 2
    np.testing.assert_allclose(targets["boxes"][0, 2, 3, :2], [1, 1], atol=1e-6)
    np.testing.assert_allclose(targets["boxes"][0, 0, 0, :2], [0, 0], atol=1e-6)


def test_cells_within_reach_own_an_object_too():
    """Centre at x = 1.2, y = 1.5 cells: 0.2 from column 0, 0.5 from the rows above and below, 0.8 from column 2."""
    box = np.array([1.5 - 0.3, 1.2 - 0.3, 1.5 + 0.3, 1.2 + 0.3]) / 3

    def owners(reach):
        return np.argwhere(encoded(YoloV1Codec(num_classes=1, reach=reach), [box], [0], (3, 3))["state"][0]).tolist()

    assert owners(0.0) == [[1, 1]]
    assert owners(0.3) == [[1, 0], [1, 1]]
    assert owners(0.6) == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    targets = encoded(YoloV1Codec(num_classes=1, reach=0.3), [box], [0], (3, 3))
    np.testing.assert_allclose(targets["boxes"][0, 1, 0], [1.2, 0.5, 0.6, 0.6], atol=1e-5)


def test_home_comes_before_reach_and_the_nearest_before_the_first():
    """On a row of 3 cells: centres at 0.9 (cell 0) and 2.2 (cell 2); both reach cell 1, the first is nearer."""
    codec = YoloV1Codec(num_classes=3, reach=0.4)
    boxes = {2.2: 0, 0.9: 1, 1.05: 2}

    def classes(*centres):
        rows = [[0.4, c / 3 - 0.1, 0.6, c / 3 + 0.1] for c in centres]
        targets = encoded(codec, rows, [boxes[c] for c in centres], (1, 3))
        assert targets["state"].tolist() == [[[1, 1, 1]]]
        return targets["classes"][0, 0].argmax(-1).tolist()

    assert classes(2.2, 0.9) == classes(0.9, 2.2) == [1, 1, 0]
    assert classes(2.2, 0.9, 1.05) == [1, 2, 0]


@pytest.mark.parametrize("sizes", SIZES)
def test_decode_inverts_encode_within_reach(sizes):
    codec = YoloV1Codec(num_classes=1, sizes=sizes, reach=0.5)
    box = [0.3, 0.2, 0.62, 0.5]
    targets = encoded(codec, [box], [0], (5, 5))
    found, scores = decoded(codec, perfect(codec, targets))
    assert (scores[:, 0] > 0).sum() == targets["state"].sum() > 1
    np.testing.assert_allclose(found[scores[:, 0] > 0], [box] * int(targets["state"].sum()), atol=1e-6)


def test_darknet_vector_by_hand():
    """All classes, all confidences, all boxes; cell by cell in rows, box inner (Darknet, src/detection_layer.c)."""
    side, c, b = 2, 3, 2
    codec = YoloV1Codec(num_classes=c, boxes_per_cell=b, sizes="root", layout="darknet", score="product")
    vector = np.arange(side * side * codec.outputs, dtype="float32")
    assert len(vector) == 2 * 2 * (3 + 5 * 2)
    classes, confidences, boxes = (array(value) for value in codec.unpack(ops.convert_to_tensor(vector[None])))
    for row, column in itertools.product(range(side), range(side)):
        cell = row * side + column
        np.testing.assert_array_equal(classes[0, row, column], cell * c + np.arange(c))
        np.testing.assert_array_equal(confidences[0, row, column], 4 * c + cell * b + np.arange(b))
        for k in range(b):
            np.testing.assert_array_equal(boxes[0, row, column, k], 4 * (c + b) + (cell * b + k) * 4 + np.arange(4))


def test_cell_row_by_hand():
    """[C classes][conf x y w h] * B."""
    codec = YoloV1Codec(num_classes=2, boxes_per_cell=2)
    predictions = np.arange(2 * 3 * codec.outputs, dtype="float32").reshape(1, 2, 3, 12)
    classes, confidences, boxes = (array(value) for value in codec.unpack(ops.convert_to_tensor(predictions)))
    cell = predictions[0, 1, 2]
    np.testing.assert_array_equal(classes[0, 1, 2], cell[:2])
    np.testing.assert_array_equal(confidences[0, 1, 2], cell[[2, 7]])
    np.testing.assert_array_equal(boxes[0, 1, 2], [cell[3:7], cell[8:12]])


def one_cell(score):
    """A grid of 1 x 1: box 0 (confidence 0.4) on the upper left quarter, box 1 (0.6) beyond the right border."""
    codec = YoloV1Codec(num_classes=2, boxes_per_cell=2, sizes="image", score=score)
    predictions = [[[[0.5, -0.25, 0.4, 0.25, 0.25, 0.5, 0.5, 0.6, 1.0, 0.5, 0.5, 1.0]]]]
    return decoded(codec, predictions)


def test_scores_by_confidence():
    boxes, scores = one_cell("confidence")
    np.testing.assert_allclose(boxes, [[0, 0.75, 1, 1]], atol=1e-6)  # clipped to the image
    np.testing.assert_allclose(scores, [[0.6, 0]], atol=1e-6)


def test_scores_by_product():
    boxes, scores = one_cell("product")
    np.testing.assert_allclose(boxes, [[0, 0, 0.5, 0.5], [0, 0.75, 1, 1]], atol=1e-6)
    np.testing.assert_allclose(scores, [[0.2, -0.1], [0.3, -0.15]], atol=1e-6)


def test_a_negative_size_is_no_size():
    codec = YoloV1Codec(num_classes=1, boxes_per_cell=1)
    boxes, _ = decoded(codec, [[[[1, 1, 0.5, 0.5, -0.5, 0.5]]]])
    np.testing.assert_allclose(boxes, [[0.25, 0.5, 0.75, 0.5]], atol=1e-6)


def test_a_codec_is_stored_with_a_model():
    codec = YoloV1Codec(num_classes=5, boxes_per_cell=3, sizes="root", layout="darknet", score="product", reach=0.25)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(codec)) == codec
    assert (codec.outputs, YoloV1Codec(20).outputs, YoloV1Codec(1).outputs) == (20, 30, 11)


@pytest.mark.parametrize("score", ["confidence", "product"])
@pytest.mark.parametrize("sizes", ["cell", "image", "root"])
def test_dense_at_the_trained_stride_is_decode(sizes, score):
    """In pixels of the image that was trained on."""
    codec = YoloV1Codec(3, sizes=sizes, score=score)
    raw = np.random.default_rng(0).uniform(0.2, 0.8, (2, 4, 5, codec.outputs)).astype("float32")
    boxes, scores = codec.decode_dense(raw, 16, 16, (64, 80))
    want, want_scores = codec.decode(raw)
    np.testing.assert_allclose(np.clip(boxes / np.array([64, 80, 64, 80]), 0, 1), want, atol=1e-5)
    np.testing.assert_array_equal(scores, want_scores)


@pytest.mark.parametrize("sizes", ["cell", "image", "root"])
def test_a_dense_location_predicts_from_where_it_is(sizes):
    """The same numbers two locations further on are the same box, 2 x 4 pixels further on, on an image of any size."""
    codec = YoloV1Codec(1, 1, sizes=sizes)
    raw = np.broadcast_to(np.array([1, 1, 0.5, 0.25, 0.4, 0.6], "float32"), (1, 7, 9, 6))
    boxes = np.array(codec.decode_dense(raw, 4, 16, (64, 80))[0]).reshape(7, 9, 4)
    np.testing.assert_allclose(boxes[2, 3] - boxes[0, 0], [8, 12, 8, 12], atol=1e-4)
    width, height = {"cell": (6.4, 9.6), "image": (32, 38.4), "root": (12.8, 23.04)}[sizes]
    y1, x1, y2, x2 = boxes[0, 0]
    np.testing.assert_allclose([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], [8, 4, width, height], atol=1e-4)

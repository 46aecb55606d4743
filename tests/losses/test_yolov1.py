"""YOLOv1's loss in its three forms, and in ours: by hand, and against plain loops."""

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.losses.yolov1 import RULES, WEIGHTS, yolov1_loss

TENSORFLOW = keras.backend.backend() == "tensorflow"
COLUMNS = {"paper": "image", "darknet": "root", "author": "cell", "giou": "root"}  # each rule and its unit of sizes


def array(tensor):
    return ops.convert_to_numpy(tensor)


def terms(codec, rule, boxes, labels, predictions):
    annotations = {"boxes": ops.convert_to_tensor(boxes, "float32"), "labels": ops.convert_to_tensor(labels, "int32")}
    loss = yolov1_loss(codec, rule)
    if not TENSORFLOW:  # JAX takes long to compile each operation by itself
        import jax

        loss = jax.jit(loss)
    found = loss(annotations, ops.convert_to_tensor(predictions, "float32"))
    return {name: array(value) for name, value in found.items()}


def gradient(codec, rule, boxes, labels, predictions):
    """Of the weighted sum of all terms, by the predictions."""
    boxes, labels = ops.convert_to_tensor(boxes, "float32"), ops.convert_to_tensor(labels, "int32")

    def total(predictions):
        found = yolov1_loss(codec, rule)({"boxes": boxes, "labels": labels}, predictions)
        return sum(ops.sum(WEIGHTS[name] * value) for name, value in found.items())

    predictions = ops.convert_to_tensor(predictions, "float32")
    if not TENSORFLOW:
        import jax

        return np.asarray(jax.jit(jax.grad(total))(predictions))
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def differentiate(predictions):
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            value = total(predictions)
        return tape.gradient(value, predictions)

    return differentiate(predictions).numpy()


def root(size):
    return np.sign(size) * np.sqrt(abs(size))


def reference(codec, rule, boxes, labels, predictions):
    """Spec/01 section 4, cell by cell and box by box: the four sums of one image. predictions (S, S, C + 5 B)."""
    rows, columns, _ = predictions.shape
    c, owners = codec.num_classes, {}
    for box, label in zip(boxes, labels, strict=True):
        if label < 0:
            continue
        y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        row, column = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
        owners.setdefault(
            (row, column), ((x * columns - column, y * rows - row, box[3] - box[1], box[2] - box[0]), label)
        )

    def in_cells(x, y, w, h):  # of a prediction
        if codec.sizes == "cell":
            return x, y, w, h
        return (x, y, w * w * columns, h * h * rows) if codec.sizes == "root" else (x, y, w * columns, h * rows)

    def iou(a, b):
        width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
        height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)

    def giou(a, b):
        overlap = iou(a, b)
        union = (max(a[2], 0) * max(a[3], 0) + b[2] * b[3]) / (1 + overlap)
        width = max(a[0] + a[2] / 2, b[0] + b[2] / 2) - min(a[0] - a[2] / 2, b[0] - b[2] / 2)
        height = max(a[1] + a[3] / 2, b[1] + b[3] / 2) - min(a[1] - a[3] / 2, b[1] - b[3] / 2)
        return overlap - 1 + union / (width * height)

    sums = dict.fromkeys(WEIGHTS, 0.0)
    for row in range(rows):
        for column in range(columns):
            cell = predictions[row, column]
            guesses = [cell[c + 5 * k : c + 5 * k + 5] for k in range(codec.boxes_per_cell)]
            if (row, column) not in owners:
                sums["background"] += sum(guess[0] ** 2 for guess in guesses)
                continue
            (x, y, w, h), label = owners[row, column]
            truth = x, y, w * columns, h * rows
            overlaps = [iou(in_cells(*guess[1:]), truth) for guess in guesses]
            best = int(np.argmax(overlaps))
            if rule in ("darknet", "giou") and max(overlaps) == 0:
                away = [np.subtract(in_cells(*guess[1:]), truth) / [columns, rows, columns, rows] for guess in guesses]
                best = int(np.argmin([np.sum(a * a) for a in away]))
            confidence, px, py, pw, ph = guesses[best]
            if codec.sizes == "root":
                sizes = (pw - root(w)) ** 2 + (ph - root(h)) ** 2
            else:
                scale = (columns, rows) if codec.sizes == "cell" else (1, 1)
                sizes = (root(pw) - root(w * scale[0])) ** 2 + (root(ph) - root(h * scale[1])) ** 2
            coordinates = (px - x) ** 2 + (py - y) ** 2 + sizes
            if rule == "giou":
                coordinates += 1 - giou(in_cells(*guesses[best][1:]), truth)
            sums["coordinates"] += coordinates
            sums["objectness"] += (confidence - (1 if rule == "author" else overlaps[best])) ** 2
            if rule != "author":
                sums["background"] += sum(guess[0] ** 2 for k, guess in enumerate(guesses) if k != best)
            sums["classes"] += sum((cell[k] - (k == label)) ** 2 for k in range(c))
    return sums


@pytest.mark.parametrize("sizes", ["cell", "image", "root"])
@pytest.mark.parametrize("rule", RULES)
def test_equals_plain_loops(rule, sizes):
    codec, grid = YoloV1Codec(num_classes=3, boxes_per_cell=3, sizes=sizes), (2, 5)
    random = np.random.default_rng(7)
    near = random.uniform(0, 0.7, (6, 5, 2))
    boxes = np.concatenate([near, near + random.uniform(0.02, 0.3, (6, 5, 2))], -1)
    labels = random.integers(-1, 3, (6, 5))
    predictions = random.uniform(-0.4, 1.2, (6, *grid, codec.outputs))
    found = terms(codec, rule, boxes, labels, predictions)
    for image in range(6):
        wanted = reference(codec, rule, boxes[image], labels[image], predictions[image])
        for name in WEIGHTS:
            np.testing.assert_allclose(found[name][image], wanted[name], rtol=1e-3, atol=1e-4, err_msg=name)


def one_object(sizes, *cell_boxes):
    """A grid of 2 x 2, two classes, two boxes a cell. One object, class 1: centre (y, x) = (0.25, 0.75), so row 0,
    column 1, offsets (0.5, 0.5), sides h = w = 0.25. Three cells say 0.5 for one confidence and nothing else; the
    object's cell says 0.5, 0.5 for the classes, and `cell_boxes`."""
    codec = YoloV1Codec(num_classes=2, boxes_per_cell=2, sizes=sizes)
    predictions = np.zeros((1, 2, 2, 12))
    predictions[..., 2] = 0.5
    predictions[0, 0, 1] = [0.5, 0.5, *cell_boxes[0], *cell_boxes[1]]
    return codec, [[[0.125, 0.625, 0.375, 0.875], [0, 0, 0, 0]]], [[1, -1]], predictions


BY_HAND = {
    # Box 1 covers the truth and is four times its area: IoU 1/4; box 0 lies beside it.
    # Sizes: (sqrt 0.5 - sqrt 0.25)^2 = 0.04289 twice. Background: 3 empty cells of 0.25, and box 0 of the cell: 0.04.
    "paper": (
        (0.2, 0.0, 0.0, 0.01, 0.01),
        (0.75, 0.5, 0.5, 0.5, 0.5),
        {"coordinates": 0.0857864, "objectness": 0.25, "background": 0.79, "classes": 0.5},
    ),
    # No box meets the truth: box 0 is as large and lies beside it, box 1 lies right but is flat. Distances in fractions
    # of the image: 0.8 cells = 0.4 against 0.75 too wide and 0.25 too low, so box 0 (in the predicted roots it would be
    # box 1). x 0.8^2, sizes right; its confidence 0.8 should be its IoU, 0. Background: 0.75 and box 1's 0.04.
    "darknet": (
        (0.8, 1.3, 0.5, 0.5, 0.5),
        (0.2, 0.5, 0.5, 1.0, 0.0),
        {"coordinates": 0.64, "objectness": 0.64, "background": 0.79, "classes": 0.5},
    ),
    # Box 1 is as large and 1 cell off: the smallest box around both is 1.5 x 0.5 cells, of which they cover 2/3, so the
    # GIoU is 0 - 1/3; its square is 1. It is the closer: box 0 is too wide and flat. The rest as above.
    "giou": (
        (0.2, 0.5, 0.5, 1.5, 0.0),
        (0.8, 1.5, 0.5, 0.5, 0.5),
        {"coordinates": 1 + 4 / 3, "objectness": 0.64, "background": 0.79, "classes": 0.5},
    ),
    # Cell units: the truth's sides are 0.5. Box 1, side 1, has IoU 1/4; its confidence 0.75 should be 1.
    # Sizes (1 - sqrt 0.5)^2 = 0.0857864 twice. Background: empty cells alone.
    "author": (
        (0.2, 0.0, 0.0, 0.01, 0.01),
        (0.75, 0.5, 0.5, 1.0, 1.0),
        {"coordinates": 0.1715729, "objectness": 0.0625, "background": 0.75, "classes": 0.5},
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_one_object_by_hand(rule):
    *cell_boxes, wanted = BY_HAND[rule]
    codec, *image = one_object(COLUMNS[rule], *cell_boxes)
    found = terms(codec, rule, *image)
    assert found.keys() == wanted.keys() == WEIGHTS.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], [value], atol=2e-5, err_msg=name)


@pytest.mark.slow
def test_author_ignores_a_box_of_an_object_cell_that_is_not_responsible():
    *cell_boxes, _ = BY_HAND["author"]
    codec, boxes, labels, predictions = one_object("cell", *cell_boxes)
    slope = gradient(codec, "author", boxes, labels, predictions)[0, 0, 1]
    np.testing.assert_array_equal(slope[2:7], 0)
    assert np.all(slope[[0, 1, 7, 10, 11]] != 0)


def test_the_confidence_target_is_a_constant():
    """With a target that were itself trained, moving the box would change the objectness term's slope."""
    *cell_boxes, _ = BY_HAND["paper"]
    codec, boxes, labels, predictions = one_object("image", *cell_boxes)
    predictions[0, 0, 1, 8:] = 0.5, 0.5, 0.25, 0.25  # box 1 is right; its confidence is not
    slope = gradient(codec, "paper", boxes, labels, predictions)[0, 0, 1]
    np.testing.assert_allclose(slope[8:], 0, atol=1e-5)
    assert slope[7] == pytest.approx(2 * (0.75 - 1), abs=1e-4)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.slow
def test_gradients_are_finite(rule):
    """At all predictions 0, negative, and next to 0; of an object, one without area, and none at all."""
    codec = YoloV1Codec(num_classes=2, sizes=COLUMNS[rule])
    values = np.repeat([0.0, -0.3, -1e-6, 1e-30], 2)
    predictions = values[:, None, None, None] * np.ones((8, 3, 3, codec.outputs))
    boxes = [[[0.2, 0.2, 0.4, 0.5], [0.7, 0.7, 0.7, 0.7]], [[0, 0, 0, 0]] * 2] * 4
    slope = gradient(codec, rule, boxes, [[0, 1], [-1, -1]] * 4, predictions)
    assert np.isfinite(slope).all() and slope[0::2].any((1, 2, 3)).all()


@pytest.mark.parametrize("rule", RULES)
def test_an_image_without_objects_counts_background_alone(rule):
    codec = YoloV1Codec(num_classes=2, sizes=COLUMNS[rule])
    predictions = np.random.default_rng(0).normal(size=(1, 3, 3, codec.outputs))
    found = terms(codec, rule, np.zeros((1, 4, 4)), np.full((1, 4), -1), predictions)
    np.testing.assert_allclose(found["background"], np.square(predictions[..., [2, 7]]).sum(), rtol=1e-5)
    assert not any(found[name].any() for name in ("coordinates", "objectness", "classes"))


@pytest.mark.parametrize("sizes", ["cell", "image", "root"])
@pytest.mark.parametrize("rule", RULES)
def test_perfect_predictions_cost_nothing(rule, sizes):
    """Those of the cells that an object reaches included."""
    codec = YoloV1Codec(num_classes=2, boxes_per_cell=1, sizes=sizes, reach=0.5)
    boxes, labels = np.array([[[0.1, 0.2, 0.5, 0.4], [0.5, 0.6, 0.9, 0.9]]], "float32"), np.array([[0, 1]])
    targets = {name: array(value) for name, value in codec.encode(boxes, labels, (4, 4)).items()}
    predictions = np.concatenate([targets["classes"], targets["state"][..., None], targets["boxes"]], -1)
    for name, value in terms(codec, rule, boxes, labels, predictions).items():
        np.testing.assert_allclose(value, 0, atol=1e-4, err_msg=name)


def test_darknet_layout_gives_the_same_loss():
    cells = YoloV1Codec(num_classes=2, boxes_per_cell=3, sizes="root")
    flat = YoloV1Codec(num_classes=2, boxes_per_cell=3, sizes="root", layout="darknet")
    predictions = np.random.default_rng(3).uniform(-0.2, 1, (2, 3, 3, cells.outputs)).astype("float32")
    parts = [array(value).reshape(2, -1) for value in cells.unpack(ops.convert_to_tensor(predictions))]
    boxes, labels = [[[0.1, 0.2, 0.5, 0.4]], [[0.5, 0.6, 0.9, 0.9]]], [[0], [1]]
    wanted = terms(cells, "darknet", boxes, labels, predictions)
    for name, value in terms(flat, "darknet", boxes, labels, np.concatenate(parts, -1)).items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-5)


def test_weights_of_the_paper():
    assert WEIGHTS == {"coordinates": 5, "objectness": 1, "background": 0.5, "classes": 1}

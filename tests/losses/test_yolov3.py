"""The loss against the gradients that Darknet writes down, candidate by candidate (src/yolo_layer.c)."""

import math

import keras
import numpy as np
import pytest
from harness import compiled, with_gradient

from kerastransfer.codecs.yolov3 import YoloV3Codec
from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss
from kerastransfer.ops import truths as folding

ANCHORS = ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0), (30.0, 61.0), (62.0, 45.0), (59.0, 119.0))
LEVELS = (("p4", 16, (0, 1, 2)), ("p5", 32, (3, 4, 5)))
GRIDS = ((4, 6), (2, 3))  # an input of 64 x 96
CODEC = YoloV3Codec(2, ANCHORS, LEVELS)
SIZE = np.array([64, 96, 64, 96])
# Two objects at one candidate, another elsewhere, and padding.
BOXES = np.array([[[18, 20, 48, 36], [18.5, 21, 48, 37], [5, 30, 50, 90], [0, 0, 0, 0]]], "float32") / SIZE
LABELS = np.array([[0, 1, 1, -1]])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def overlap(a, b):
    """IoU of two (x, y, w, h)."""
    sides = [
        min(p[i] + p[i + 2] / 2, q[i] + q[i + 2] / 2) - max(p[i] - p[i + 2] / 2, q[i] - q[i + 2] / 2)
        for i in (0, 1)
        for p, q in [(a, b)]
    ]
    shared = max(sides[0], 0) * max(sides[1], 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def truths():
    for box, label in zip(BOXES[0], LABELS[0], strict=True):
        if label >= 0:
            y1, x1, y2, x2 = (float(v) for v in box)
            yield ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), int(label)


def darknet_deltas(maps):
    """What Darknet back-propagates, which is minus the gradient, by its loops: first the background of all, then each
    object in turn, whose later one overwrites."""
    deltas = {name: np.zeros_like(value) for name, value in maps.items()}
    for (name, _, mask), (rows, columns) in zip(LEVELS, GRIDS, strict=True):
        for row in range(rows):
            for column in range(columns):
                for k, anchor in enumerate(mask):
                    t = maps[name][0, row, column, 7 * k : 7 * k + 7]
                    box = (
                        (column + sigmoid(t[0])) / columns,
                        (row + sigmoid(t[1])) / rows,
                        math.exp(t[2]) * ANCHORS[anchor][0] / 96,
                        math.exp(t[3]) * ANCHORS[anchor][1] / 64,
                    )
                    if max(overlap(box, truth) for truth, _ in truths()) <= 0.7:
                        deltas[name][0, row, column, 7 * k + 4] = -sigmoid(t[4])
    taught = {}
    for (x, y, w, h), label in truths():
        shapes = [overlap((0, 0, w * 96, h * 64), (0, 0, *anchor)) for anchor in ANCHORS]
        best = int(np.argmax(shapes))
        for (name, _, mask), (rows, columns) in zip(LEVELS, GRIDS, strict=True):
            if best not in mask:
                continue
            row, column, k = int(y * rows), int(x * columns), mask.index(best)
            t = maps[name][0, row, column, 7 * k : 7 * k + 7]
            scale = 2 - w * h
            delta = deltas[name][0, row, column, 7 * k : 7 * k + 7]
            delta[0] = scale * (x * columns - column - sigmoid(t[0]))
            delta[1] = scale * (y * rows - row - sigmoid(t[1]))
            delta[2] = scale * (math.log(w * 96 / ANCHORS[best][0]) - t[2])
            delta[3] = scale * (math.log(h * 64 / ANCHORS[best][1]) - t[3])
            delta[4] = 1 - sigmoid(t[4])
            classes = taught.setdefault((name, row, column, k), [0, 0])
            classes[label] = 1
            delta[5:] = [wanted - sigmoid(c) for wanted, c in zip(classes, t[5:], strict=True)]
    return deltas


def maps_of(seed, scale):
    random = np.random.default_rng(seed)
    return {
        name: (scale * random.normal(size=(1, *grid, 21))).astype("float32")
        for (name, _, _), grid in zip(LEVELS, GRIDS, strict=True)
    }


def gradients(function, maps):
    """Value and gradients of a loss (1,), by the backend's own differentiation."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.value_and_grad(lambda maps: function(maps)[0])(maps)
    import tensorflow as tf

    maps = {name: tf.Variable(value) for name, value in maps.items()}
    with tf.GradientTape() as tape:
        value = function(maps)
    return value[0], {name: one.numpy() for name, one in tape.gradient(value, maps).items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_are_the_deltas_of_darknet(seed):
    def total(maps):
        terms = yolov3_loss(CODEC)({"boxes": BOXES, "labels": LABELS}, maps)
        return sum(WEIGHTS["darknet"][name] * value for name, value in terms.items())

    maps = maps_of(seed, 0.5)
    _, found = gradients(total, maps)
    wanted = darknet_deltas(maps)
    for name, gradient in found.items():
        np.testing.assert_allclose(-gradient, wanted[name], atol=2e-5)


def test_the_ignore_rule_was_at_work_in_that_comparison():
    """A candidate that learns nothing but predicts an object's box is not taught to be background."""
    maps = maps_of(0, 0.0)
    # Candidate of anchor 5 in the cell of the third object, made to predict its box: the nearest anchor is another's.
    (x, y, w, h), _ = list(truths())[2]
    cell = maps["p5"][0, int(y * 2), int(x * 3)]
    for k, anchor in enumerate((3, 4, 5)):
        cell[7 * k], cell[7 * k + 1] = (math.log(part / (1 - part)) for part in (x * 3 % 1, y * 2 % 1))
        cell[7 * k + 2 : 7 * k + 4] = np.log([w * 96 / ANCHORS[anchor][0], h * 64 / ANCHORS[anchor][1]])
    deltas = darknet_deltas(maps)["p5"][0, int(y * 2), int(x * 3)]
    assert sorted(deltas[[4, 11, 18]]) == [0, 0, 0.5]  # two are left alone, one learns the object

    def background(**options):
        terms = yolov3_loss(CODEC, **options)({"boxes": BOXES, "labels": LABELS}, maps)
        return float(terms["background"][0])

    assert background(ignore=1.0) == pytest.approx(background() + 2 * math.log(2), abs=1e-4)


@pytest.mark.parametrize("rule", ["giou", "ciou"])
def test_a_perfect_prediction_has_no_loss_of_coordinates(rule):
    targets = CODEC.encode(BOXES, LABELS, list(GRIDS))
    wanted = np.asarray(CODEC.parameters(targets["boxes"], CODEC.priors(list(GRIDS))))
    raw = np.concatenate([np.log(wanted[..., :2] + 1e-6) - np.log(1 - wanted[..., :2] + 1e-6), wanted[..., 2:]], -1)
    raw = np.concatenate([raw, np.full((1, raw.shape[1], 1), 12.0), np.zeros((1, raw.shape[1], 2))], -1)
    raw[..., 5:] = np.where(targets["classes"], 12.0, -12.0)
    maps = {"p4": raw[:, :72].reshape(1, 4, 6, 21), "p5": raw[:, 72:].reshape(1, 2, 3, 21)}
    terms = yolov3_loss(CODEC, rule)({"boxes": BOXES, "labels": LABELS}, maps)
    for name in ("coordinates", "objectness", "classes"):
        assert float(terms[name][0]) < 1e-3, name


@pytest.mark.parametrize("rule", ["darknet", "giou", "ciou"])
def test_gradients_are_finite_without_objects_and_with_wild_predictions(rule):
    for scale, labels in ((1.0, [[-1] * 4]), (50.0, LABELS)):
        annotations = {"boxes": BOXES, "labels": np.array(labels)}
        total, found = gradients(
            lambda maps, truth=annotations: sum(yolov3_loss(CODEC, rule)(truth, maps).values()), maps_of(5, scale)
        )
        assert np.isfinite(total)
        assert all(np.isfinite(gradient).all() for gradient in found.values())


def test_an_image_without_objects_teaches_background_alone():
    terms = yolov3_loss(CODEC)({"boxes": BOXES, "labels": np.full((1, 4), -1)}, maps_of(5, 0.0))
    assert {name: float(value[0]) for name, value in terms.items()} == pytest.approx(
        {"coordinates": 0, "objectness": 0, "classes": 0, "background": 90 * math.log(2)}, rel=1e-5
    )


def crowded(number, seed=0):
    """Objects that meet, for two images, spread over `number` places of which most are padding."""
    random = np.random.default_rng(seed)
    near = random.uniform(0, 0.8, (2, number, 2))
    boxes = np.concatenate([near, near + random.uniform(0.02, 0.2, (2, number, 2))], -1).astype("float32")
    labels = random.integers(0, 2, (2, number)).astype("int32")
    labels[0, random.choice(number, number - 5, replace=False)] = -1
    labels[1, random.choice(number, number - 45, replace=False)] = -1
    return np.where(labels[..., None] >= 0, boxes, 0), labels


def compact(boxes, labels, number):
    """The same objects in their order, without what pads."""
    order = np.argsort(labels < 0, axis=1, kind="stable")[:, :number]
    return np.take_along_axis(boxes, order[..., None], 1), np.take_along_axis(labels, order, 1)


@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("rule", ["darknet", "ciou"])
def test_padding_changes_neither_values_nor_gradients(rule, jit, monkeypatch):
    """Objects beyond a block are learnt in a loop; without one, where a block holds them all."""
    codec = YoloV3Codec(2, ANCHORS, LEVELS, ratio=3.0, reach=0.5, sway=2.0)
    loss = yolov3_loss(codec, rule, ignore=0.3)
    random = np.random.default_rng(1)
    maps = {
        name: keras.ops.convert_to_tensor(random.normal(0, 1, (2, rows, columns, 3 * 7)), "float32")
        for (name, _, _), (rows, columns) in zip(LEVELS, GRIDS, strict=True)
    }

    def values(boxes, labels):
        def total(maps):
            terms = loss({"boxes": boxes, "labels": labels}, maps)
            return sum(keras.ops.sum(value) for value in terms.values()), terms

        (_, terms), slopes = compiled(with_gradient(total), jit=jit)(maps)
        return terms, slopes

    boxes, labels = crowded(130)
    terms, slopes = values(boxes, labels)
    assert folding.BLOCK < 45
    monkeypatch.setattr(folding, "BLOCK", 64)
    wanted_terms, wanted_slopes = values(*compact(boxes, labels, 45))
    for name, value in wanted_terms.items():
        assert np.all(np.array(value) > 0)
        np.testing.assert_allclose(terms[name], value, rtol=1e-5)
    for name, value in wanted_slopes.items():
        np.testing.assert_allclose(slopes[name], value, atol=1e-5)


def test_means_are_the_sums_over_the_candidates_that_learn_an_object():
    """In the background too. TermModel divides by the number in the whole batch."""
    maps = maps_of(0, 1.0)
    annotations = {"boxes": BOXES, "labels": LABELS}
    sums = yolov3_loss(CODEC, "ciou")(annotations, maps)
    pairs = yolov3_loss(CODEC, "ciou", means=True)(annotations, maps)
    assert pairs.keys() == sums.keys() == WEIGHTS["ciou"].keys()
    for name, (values, counts) in pairs.items():
        np.testing.assert_allclose(values, sums[name], rtol=1e-6)
        # Of the three objects, two are at one candidate.
        np.testing.assert_array_equal(counts, [2])

"""NMS against a plain greedy loop and TensorFlow's own, eagerly and compiled."""

import keras
import numpy as np
import pytest
from harness import compiled, with_gradient
from keras import ops

from kerastransfer.ops.nms import non_max_suppression
from kerastransfer.tasks import suppression

TENSORFLOW = keras.backend.backend() == "tensorflow"


def eager(function):
    return function if TENSORFLOW else xla(function)  # JAX takes long to compile each operation by itself


def graph(function):
    import tensorflow as tf

    return tf.function(function)


def xla(function):
    if not TENSORFLOW:
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


MODES = pytest.mark.parametrize("mode", [eager, graph, xla] if TENSORFLOW else [xla])


def suppress(boxes, scores, mode=eager, **options):
    options = {"iou_threshold": 0.5, "score_threshold": 0.1, "max_detections": 20} | options
    found = mode(lambda boxes, scores: non_max_suppression(boxes, scores, **options))(
        ops.convert_to_tensor(boxes, "float32"), ops.convert_to_tensor(scores, "float32")
    )
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}


def overlap(a, b):
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return height * width / (sum(areas) - height * width)


def greedy(boxes, scores, iou_threshold, score_threshold, max_detections):
    """Per class, best first; of equal scores the earlier one: [(score, anchor, class)]."""
    kept = []
    for label in range(scores.shape[1]):
        mine = []
        for anchor in np.argsort(-scores[:, label], kind="stable"):
            if scores[anchor, label] > score_threshold and all(
                overlap(boxes[anchor], boxes[other]) <= iou_threshold for other in mine
            ):
                mine.append(anchor)
                kept.append((scores[anchor, label], anchor, label))
    return sorted(kept, key=lambda row: (-row[0], row[1], row[2]))[:max_detections]


def scattered(anchors, classes, batch=2, seed=0, size=0.25):
    """Boxes of about `size` that overlap often; scores with many ties."""
    random = np.random.default_rng(seed)
    near = random.uniform(0, 1 - size, (batch, anchors, 2))
    boxes = np.concatenate([near, near + random.uniform(0.5 * size, size, (batch, anchors, 2))], -1)
    return boxes.astype("float32"), (random.integers(0, 40, (batch, anchors, classes)) / 40).astype("float32")


@MODES
@pytest.mark.parametrize(("anchors", "classes"), [(60, 1), (25, 3)])
@pytest.mark.slow
def test_equals_a_greedy_loop(mode, anchors, classes):
    boxes, scores = scattered(anchors, classes)
    found = suppress(boxes, scores, mode)
    for image in range(len(boxes)):
        wanted = greedy(boxes[image], scores[image], 0.5, 0.1, 20)
        count = found["count"][image]
        assert count == len(wanted)
        np.testing.assert_array_equal(found["scores"][image, :count], [row[0] for row in wanted])
        np.testing.assert_array_equal(found["labels"][image, :count], [row[2] for row in wanted])
        np.testing.assert_array_equal(found["boxes"][image, :count], [boxes[image, row[1]] for row in wanted])


@pytest.mark.skipif(not TENSORFLOW, reason="compares with tf.image.non_max_suppression")
@pytest.mark.parametrize("iou_threshold", [0.0, 0.3, 0.7, 1.0])
def test_equals_tensorflow(iou_threshold):
    import tensorflow as tf

    boxes, scores = scattered(70, 1, seed=1)
    found = suppress(boxes, scores, iou_threshold=iou_threshold)
    for image in range(2):
        wanted = tf.image.non_max_suppression(boxes[image], scores[image, :, 0], 20, iou_threshold, 0.1).numpy()
        assert found["count"][image] == len(wanted)
        np.testing.assert_array_equal(found["boxes"][image, : len(wanted)], boxes[image, wanted])


@MODES
def test_a_suppressed_box_suppresses_nothing(mode):
    """A chain in which each overlaps the next alone: the first and the third stay."""
    boxes = [[[0, 0.0, 1, 0.4], [0, 0.1, 1, 0.5], [0, 0.2, 1, 0.6], [0, 0.3, 1, 0.7]]]  # IoU 0.6, next but one 1 / 3
    found = suppress(boxes, [[[0.9], [0.8], [0.7], [0.6]]], mode)
    np.testing.assert_allclose(found["scores"][0, :3], [0.9, 0.7, 0])


def test_classes_do_not_suppress_each_other():
    boxes, scores = np.tile([[[0.1, 0.1, 0.5, 0.5]]], (1, 2, 1)), [[[0.9, 0.8], [0.7, 0.85]]]
    found = suppress(boxes, scores)
    np.testing.assert_array_equal(found["labels"][0, :3], [0, 1, -1])
    np.testing.assert_allclose(found["scores"][0, :2], [0.9, 0.85])


def test_many_classes_cost_no_precision():
    """Two small boxes of IoU 0.51, of a class with a high number, at a threshold of 0.5."""
    side, classes = 0.004, 2000
    shift = side * (1 - 2 * 0.51 / 1.51)
    boxes = np.array([[[0.7, 0.7, 0.7 + side, 0.7 + side], [0.7, 0.7 + shift, 0.7 + side, 0.7 + side + shift]]])
    scores = np.zeros((1, 2, classes))
    scores[0, :, -1] = 0.9, 0.8
    assert suppress(boxes, scores)["count"][0] == 1
    assert suppress(boxes, scores, iou_threshold=0.52)["count"][0] == 2


@MODES
def test_nothing_above_the_threshold(mode):
    boxes, scores = scattered(10, 2)
    found = suppress(boxes, np.full_like(scores, 0.1), mode)
    np.testing.assert_array_equal(found["count"], [0, 0])
    np.testing.assert_array_equal(found["labels"], -1)
    assert not found["boxes"].any() and not found["scores"].any()


@MODES
def test_fewer_candidates_than_detections(mode):
    found = suppress([[[0, 0, 0.1, 0.1], [0.5, 0.5, 1, 1], [0, 0.5, 0.2, 1]]], [[[0.5], [0.9], [0.05]]], mode)
    assert found["boxes"].shape == (1, 20, 4) and found["scores"].shape == found["labels"].shape == (1, 20)
    np.testing.assert_array_equal(found["count"], [2])
    np.testing.assert_allclose(found["boxes"][0, :3], [[0.5, 0.5, 1, 1], [0, 0, 0.1, 0.1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(found["labels"][0], [0, 0] + [-1] * 18)


def test_more_found_than_wanted():
    boxes = [[[0, i / 10, 0.1, i / 10 + 0.1] for i in range(10)]]
    found = suppress(boxes, np.arange(10).reshape(1, 10, 1) / 10, max_detections=3)
    np.testing.assert_array_equal(found["count"], [3])
    np.testing.assert_allclose(found["scores"][0], [0.9, 0.8, 0.7])


def test_scores_may_be_negative():
    """YOLOv1's are raw linear outputs; only the threshold decides."""
    found = suppress([[[0, 0, 0.1, 0.1], [0.5, 0.5, 1, 1]]], [[[-0.5], [-2.0]]], score_threshold=-1.0)
    np.testing.assert_array_equal(found["count"], [1])
    np.testing.assert_array_equal(found["scores"][0, :2], [-0.5, 0])


@pytest.mark.skipif(not TENSORFLOW, reason="JAX has no graph for unknown shapes")
def test_number_of_candidates_may_be_known_only_when_it_runs():
    import tensorflow as tf

    boxes, scores = scattered(30, 2)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None, 2))])
    def unknown(boxes, scores):
        return non_max_suppression(boxes, scores, iou_threshold=0.5, score_threshold=0.1, max_detections=20)

    for anchors in (30, 3):
        found, wanted = (
            unknown(boxes[:, :anchors], scores[:, :anchors]),
            suppress(boxes[:, :anchors], scores[:, :anchors]),
        )
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)


def test_numbered_rows_name_their_candidates():
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 0.99, 1], [0.5, 0.5, 1, 1]]], "float32")
    scores = np.array([[[0.2], [0.9], [0.3], [0.0]]], "float32")
    found = non_max_suppression(boxes, scores, iou_threshold=0.5, score_threshold=0.1, max_detections=3, numbered=True)
    assert np.asarray(found["candidates"]).tolist() == [[1, 2, 0]] and int(found["count"][0]) == 2


def test_many_candidates_of_strong_objects_do_not_hide_weak_ones():
    """15 objects with 60 candidates each, those of one object all stronger than those of the next."""
    random = np.random.default_rng(0)
    near = np.stack(np.meshgrid(np.arange(5) / 5, np.arange(3) / 3, indexing="ij"), -1).reshape(15, 1, 2)
    boxes = np.concatenate([near, near + 0.15], -1) + random.uniform(0, 0.005, (15, 60, 4))
    scores = np.linspace(0.9, 0.2, 900).reshape(15, 60)
    found = suppress(boxes.reshape(1, 900, 4), scores.reshape(1, 900, 1), MODES.args[1][-1])
    assert found["count"][0] == 15


@MODES
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.slow
def test_a_crowd_loses_nothing_against_suppression_of_all_candidates(mode, classes):
    """80 objects with 40 candidates each, against the loop over an unlimited number of candidates in `tasks`."""
    random = np.random.default_rng(5)
    y, x = np.meshgrid(np.arange(8) / 8, np.arange(10) / 10, indexing="ij")
    near = np.stack([y, x], -1).reshape(80, 1, 2) + random.uniform(0, 0.01, (80, 40, 2))
    boxes = np.concatenate([near, near + random.uniform(0.06, 0.09, (80, 40, 2))], -1).reshape(3200, 4)
    scores = random.uniform(0, 1, (3200, classes)) * np.linspace(1, 0.2, 80).repeat(40)[:, None]
    boxes, scores = boxes.astype("float32"), scores.astype("float32")
    limits = {"iou_threshold": 0.4, "score_threshold": 0.001, "max_detections": 100}
    found = suppress(boxes[None], scores[None], mode, **limits)
    chosen, labels = suppression.suppress(boxes, scores, 0.001, 0.4, 100)
    count = int(found["count"][0])
    assert count == len(chosen) >= 80
    np.testing.assert_array_equal(found["boxes"][0, :count], boxes[chosen])
    np.testing.assert_array_equal(found["labels"][0, :count], labels)


@pytest.mark.parametrize("jit", [False, True])
def test_it_stands_in_a_training_step(jit):
    """No gradient flows through what is found, and the loop does not stop the gradient of anything else."""
    given = dict(zip(("boxes", "scores"), map(keras.ops.convert_to_tensor, scattered(30, 2)), strict=True))

    def total(given):
        limits = {"iou_threshold": 0.5, "score_threshold": 0.1, "max_detections": 9}
        found = non_max_suppression(given["boxes"], given["scores"], **limits)
        learnt = keras.ops.sum(found["boxes"] * 3 + keras.ops.expand_dims(found["scores"], -1))
        return learnt + keras.ops.sum(given["scores"]), ()

    _, slope = compiled(with_gradient(total), jit=jit)(given)
    np.testing.assert_array_equal(slope["boxes"], np.zeros((2, 30, 4)))
    np.testing.assert_array_equal(slope["scores"], np.ones((2, 30, 2)))

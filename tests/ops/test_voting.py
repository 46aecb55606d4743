"""Painted boxes against a loop over boxes and pixels."""

import keras
import numpy as np
import pytest

from kerastransfer.ops.voting import paint


def looped(boxes, weights, size):
    out = np.zeros((len(boxes), *size))
    y, x = (np.arange(side) + 0.5 for side in size)
    for image, (own, heavy) in enumerate(zip(boxes, weights, strict=True)):
        for (y1, x1, y2, x2), weight in zip(own, heavy, strict=True):
            inside = np.outer((y1 <= y) & (y < y2), (x1 <= x) & (x < x2))
            out[image] += weight * inside
    return out


def random_boxes(random, batch, number, size):
    """Some of them turned inside out, some beyond the image."""
    return random.uniform(-0.3, 1.3, (batch, number, 4)).astype("float32") * np.array((*size, *size), "float32")


@pytest.mark.parametrize(("size", "number"), [((9, 14), 40), ((1, 5), 7), ((6, 6), 1)])
def test_equals_a_loop(size, number):
    random = np.random.default_rng(0)
    boxes, weights = random_boxes(random, 3, number, size), random.uniform(0, 1, (3, number)).astype("float32")
    got = np.array(paint(boxes, weights, size))
    np.testing.assert_allclose(got, looped(boxes, weights, size), atol=1e-5)


def test_pixels_by_their_centres():
    boxes = np.array([[[0.5, 0.6, 2.5, 2.4], [1, 1, 2, 3]]], "float32")
    got = np.array(paint(boxes, np.array([[1.0, 10.0]], "float32"), (3, 4)))
    np.testing.assert_array_equal(got[0], [[0, 1, 0, 0], [0, 11, 10, 0], [0, 0, 0, 0]])


def test_the_whole_is_what_the_boxes_hold():
    """Sum over pixels = sum of weight times area, for boxes between pixels."""
    random = np.random.default_rng(1)
    near = random.integers(0, 20, (1, 50, 2))
    boxes = np.concatenate([near, near + random.integers(0, 12, (1, 50, 2))], -1).astype("float32")
    weights = random.uniform(0, 1, (1, 50)).astype("float32")
    area = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    assert np.sum(paint(boxes, weights, (40, 40))) == pytest.approx(np.sum(weights * area), rel=1e-5)


def test_many_boxes_leave_no_trace_of_rounding():
    """What is far from every box is 0 to rounding, though sums run over the whole image."""
    random = np.random.default_rng(2)
    boxes = random.uniform(5, 40, (1, 20_000, 4)).astype("float32")
    got = np.array(paint(boxes, random.uniform(0, 1, (1, 20_000)).astype("float32"), (64, 64)))
    assert got.max() > 500 and np.abs(got[0, 50:, :]).max() < 1e-5 * got.max()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compiles with TensorFlow")
def test_in_a_compiled_function():
    import tensorflow as tf

    random = np.random.default_rng(3)
    boxes, weights = random_boxes(random, 2, 30, (8, 9)), random.uniform(0, 1, (2, 30)).astype("float32")
    compiled = tf.function(lambda b, w: paint(b, w, (8, 9)), jit_compile=True)
    np.testing.assert_allclose(compiled(boxes, weights), looped(boxes, weights, (8, 9)), atol=1e-5)

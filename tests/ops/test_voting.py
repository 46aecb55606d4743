"""Painted boxes against a loop over boxes and pixels."""

import numpy as np
import pytest
from harness import compiled

from kerastransfer.ops.voting import paint


def looped(boxes, weights, size):
    out = np.zeros((len(boxes), *size))
    y, x = (np.arange(side) for side in size)
    for image, (own, heavy) in enumerate(zip(boxes, weights, strict=True)):
        for (y1, x1, y2, x2), weight in zip(own, heavy, strict=True):
            rows = np.clip(np.minimum(y2, y + 1) - np.maximum(y1, y), 0, None)
            columns = np.clip(np.minimum(x2, x + 1) - np.maximum(x1, x), 0, None)
            out[image] += weight * np.outer(rows, columns)
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


def test_a_pixel_counts_by_what_of_it_is_covered():
    boxes = np.array([[[0.5, 0.75, 2.5, 2.5], [1, 1, 2, 3]]], "float32")
    got = np.array(paint(boxes, np.array([[1.0, 10.0]], "float32"), (3, 4)))
    edges = [[0.125, 0.5, 0.25, 0], [0.25, 1, 0.5, 0], [0.125, 0.5, 0.25, 0]]
    np.testing.assert_array_equal(got[0], edges + np.array([[0], [10], [0]]) * [0, 1, 1, 0])


@pytest.mark.parametrize("place", [2.0, 2.5])
def test_a_box_that_moves_by_a_hair_changes_the_map_by_a_hair(place):
    """So that rounding, which differs between a network and its exported file, stays rounding."""
    weights = np.array([[1.0]], "float32")
    maps = [
        np.array(paint(np.array([[[place + hair, 1, 5, 6 + hair]]], "float32"), weights, (8, 8)))
        for hair in (-1e-5, 0.0, 1e-5)
    ]
    np.testing.assert_allclose(maps[0], maps[1], atol=5e-5)
    np.testing.assert_allclose(maps[2], maps[1], atol=5e-5)


def test_the_whole_is_what_the_boxes_hold():
    """Sum over pixels = sum of weight times area."""
    random = np.random.default_rng(1)
    near = random.uniform(0, 20, (1, 50, 2))
    boxes = np.concatenate([near, near + random.uniform(0, 12, (1, 50, 2))], -1).astype("float32")
    weights = random.uniform(0, 1, (1, 50)).astype("float32")
    area = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    assert np.sum(paint(boxes, weights, (40, 40))) == pytest.approx(np.sum(weights * area), rel=1e-5)


def test_many_boxes_leave_no_trace_of_rounding():
    """What is far from every box is 0 to rounding, though sums run over the whole image."""
    random = np.random.default_rng(2)
    boxes = random.uniform(5, 40, (1, 20_000, 4)).astype("float32")
    got = np.array(paint(boxes, random.uniform(0, 1, (1, 20_000)).astype("float32"), (64, 64)))
    assert got.max() > 500 and np.abs(got[0, 50:, :]).max() < 1e-5 * got.max()


def test_in_a_compiled_function():
    random = np.random.default_rng(3)
    boxes, weights = random_boxes(random, 2, 30, (8, 9)), random.uniform(0, 1, (2, 30)).astype("float32")
    found = compiled(lambda b, w: paint(b, w, (8, 9)))(boxes, weights)
    np.testing.assert_allclose(found, looped(boxes, weights, (8, 9)), atol=1e-5)

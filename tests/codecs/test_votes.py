"""Thresholds from boxes, on maps whose answer is known."""

import numpy as np
import pytest

from kerastransfer.codecs.votes import classes_by_votes, inside_boxes, threshold_by_boxes


def hill(size, centre, radius):
    """1 in the middle, 0.5 at `radius` pixels, less beyond."""
    y, x = np.ogrid[: size[0], : size[1]]
    return 1 / (1 + ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / radius**2)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_the_mask_touches_the_sides_of_the_box(scale):
    """A disc of radius 10 in its box: the threshold is the hill's height there, in any unit."""
    sizes, centres = [(60, 50), (48, 64)], [(30, 20), (20, 40)]
    votes = [scale * hill(size, centre, 10) for size, centre in zip(sizes, centres, strict=True)]
    boxes = [
        np.array([[(y - 10) / h, (x - 10) / w, (y + 11) / h, (x + 11) / w]])
        for (h, w), (y, x) in zip(sizes, centres, strict=True)
    ]
    found = threshold_by_boxes(votes, boxes) / scale
    assert 1 / (1 + 1.1**2) <= found < 0.5


def test_images_without_boxes_push_it_up():
    quiet = 0.6 * hill((40, 40), (20, 20), 8)
    loud = hill((40, 40), (20, 20), 8)
    box = np.array([[12 / 40, 12 / 40, 29 / 40, 29 / 40]])
    assert threshold_by_boxes([loud], [box]) < 0.6
    assert threshold_by_boxes([loud, quiet, quiet, quiet], [box, *[np.zeros((0, 4))] * 3]) >= 0.59


def test_without_votes():
    assert threshold_by_boxes([np.zeros((5, 5))], [np.array([[0, 0, 1, 1]])]) == 1.0


def test_pixels_in_boxes_by_their_centres():
    inside = inside_boxes(np.array([[0.125, 0, 0.5, 0.3], [0.8, 0.9, 2, 2], [0.5, 0.5, 0.5, 0.9]]), (4, 5))
    np.testing.assert_array_equal(inside, [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]])


def test_classes_by_votes():
    votes = np.array([[[0.0, 0.0], [2, 1], [2, 5], [0.9, 1.9]]], "float32")
    np.testing.assert_array_equal(classes_by_votes(votes, [1.0, 2.0]), [[0, 1, 2, 0]])


def test_no_threshold_lies_within_rounding_errors():
    """An object of 1 vote in a box, and everywhere else the rounding errors of sums."""
    rng = np.random.default_rng(0)
    votes = np.abs(rng.normal(0, 1e-9, (40, 40)))
    votes[10:20, 10:20] = rng.uniform(0.5, 1, (10, 10))
    assert threshold_by_boxes([votes], [np.array([[0.0, 0.0, 1.0, 1.0]])]) >= 1e-6

"""Masks from boxes on drawn scenes, where the truth is known."""

import numpy as np

from kerastransfer.codecs.pseudo_masks import pseudo_mask
from kerastransfer.vocabulary import VOID


def scene(noise=6):
    """A blue plus sign and a green disc on a reddish ground: image, boxes, classes, truth."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:80, :100]
    truth = np.zeros((80, 100), np.uint8)
    truth[(abs(y - 40) < 25) & (abs(x - 25) < 6) | (abs(y - 40) < 6) & (abs(x - 25) < 18)] = 1
    truth[(y - 45) ** 2 + (x - 75) ** 2 < 18**2] = 2
    image = np.array([[170, 90, 60], [40, 60, 200], [50, 180, 70]])[truth] + random.normal(0, noise, (80, 100, 3))
    boxes = np.array([[16 / 80, 8 / 100, 65 / 80, 43 / 100], [28 / 80, 58 / 100, 63 / 80, 93 / 100]])
    return np.clip(image, 0, 255).astype(np.uint8), boxes, [1, 2], truth


def iou(mask, truth, value):
    return np.sum((mask == value) & (truth == value)) / np.sum((mask == value) | (truth == value))


def test_colours_find_what_the_box_does_not_tell():
    image, boxes, classes, truth = scene()
    mask = pseudo_mask(image, boxes, classes)
    filled = np.zeros_like(truth)
    filled[16:65, 8:43], filled[28:63, 58:93] = 1, 2
    assert iou(filled, truth, 1) < 0.55
    for value in (1, 2):
        assert iou(mask, truth, value) > 0.7
    assert not mask[filled == 0].any()


def test_the_same_every_time():
    image, boxes, classes, _ = scene()
    one, other = (pseudo_mask(image, boxes, classes) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_an_image_of_one_colour_keeps_the_ellipse():
    """Colours tell nothing there, so that what is known of objects in boxes remains."""
    box = np.array([[0.25, 0.2, 0.75, 0.8]])
    mask = pseudo_mask(np.full((60, 60, 3), 90, np.uint8), box, [1])
    assert mask[30, 30] == 1 and mask[16, 13] in (0, VOID) and not mask[:14].any()


def test_boxes_of_a_pixel_or_none():
    image = np.zeros((9, 9, 3), np.uint8)
    assert not pseudo_mask(image, np.zeros((0, 4)), []).any()
    assert not pseudo_mask(image, np.array([[0.5, 0.5, 0.5, 0.9]]), [1]).any()
    speck = pseudo_mask(image, np.array([[0, 0, 1 / 9, 1 / 9]]), [1])
    assert speck[0, 0] == 1 and speck.sum() == 1

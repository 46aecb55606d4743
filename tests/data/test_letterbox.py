"""Letterboxed pictures: Darknet's windows by hand; image, boxes, masks and maps that stay together."""

import numpy as np
import pytest

from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.data.decoded import decode
from kerastransfer.data.letterbox import GREY, placement
from kerastransfer.data.mask_crops import FULL
from kerastransfer.vocabulary import VOID


@pytest.mark.parametrize(
    ("image_size", "size", "window"),
    [
        ((480, 640), (416, 416), (52, 0, 364, 416)),  # 480 * 416 / 640 = 312 rows, (416 - 312) / 2 above
        ((640, 480), (416, 416), (0, 52, 416, 364)),
        ((576, 768), (608, 608), (76, 0, 532, 608)),
        ((375, 500), (416, 416), (52, 0, 364, 416)),
        ((333, 500), (416, 416), (69, 0, 346, 416)),  # 277.06 rows are 277, of the 139 left over 69 stand above
        ((100, 100), (96, 160), (0, 32, 96, 128)),  # a picture that is no square
        ((100, 200), (96, 160), (8, 0, 88, 160)),
        ((416, 416), (416, 416), (0, 0, 416, 416)),
        ((1, 1000), (64, 64), (31, 0, 32, 64)),  # 0.064 rows: one stays
        ((1000, 1), (64, 64), (0, 31, 64, 32)),
    ],
)
def test_the_window_is_darknets(image_size, size, window):
    assert placement(image_size, size, "letterbox").window == window
    assert placement(image_size, size).window == (0, 0, *size)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("image_size", [(480, 640), (1000, 31), (7, 8)])
def test_boxes_there_and_back(image_size, resize):
    corners = np.random.default_rng(0).random((100, 2, 2))
    boxes = np.sort(corners, axis=1).reshape(-1, 4).astype(np.float32)
    placed = placement(image_size, (416, 320), resize)
    there = placed.to_picture(boxes)
    np.testing.assert_allclose(placed.to_image(there), boxes, atol=1e-5)
    assert there.dtype == np.float32
    top, left, bottom, right = placed.window
    whole = placed.to_picture(np.array([[0, 0, 1, 1]]))[0] * (416, 320, 416, 320)
    np.testing.assert_allclose(whole, (top, left, bottom, right), rtol=1e-6)
    if resize == "stretch":
        np.testing.assert_array_equal(there, boxes)


def scene(size):
    """A white rectangle on black, annotated in every way."""
    height, width = size
    mask = np.zeros(size, bool)
    mask[height // 4 : height // 2, width // 8 : width // 2] = True
    return {
        "image": np.repeat(255 * mask[..., None], 3, -1).astype(np.uint8),
        "boxes": np.array([[0.25, 0.125, 0.5, 0.5], [0.1, 0.1, 0.2, 0.2]], np.float32),
        "labels": np.zeros(2, np.int32),
        "crowd": np.zeros(2, bool),
        "difficult": np.zeros(2, bool),
        "masks": np.stack([mask, np.zeros(size, bool)]),  # the second has no pixel
        "segmentation": mask.astype(np.uint8),
    }


@pytest.mark.parametrize("size", [(64, 128), (160, 80), (96, 96)])
def test_image_boxes_masks_and_map_move_together(size):
    fields = ("boxes", "masks", "segmentation")
    dataset = Dataset("one", (Sample("a", lambda: scene(size), frozenset(fields)),))
    arrays = decode(dataset, fields, (96, 96), resize="letterbox").arrays
    image, segmentation = arrays["image"][0], arrays["segmentation"][0]
    box, frame = arrays["boxes"][0, 0] * 96, arrays["frames"][0, 0] * 96
    y1, x1, y2, x2 = np.round(box).astype(int)
    np.testing.assert_allclose(box, (y1, x1, y2, x2), atol=1e-4)  # sizes are chosen so
    inside = np.zeros((96, 96), bool)
    inside[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(segmentation == 1, inside)
    assert (image[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2] == 255).all()
    np.testing.assert_allclose(frame, box, atol=1e-4)
    assert (arrays["masks"][np.array([0])][0, 0] == FULL).all()
    assert not arrays["frames"][0, 1].any() and arrays["boxes"][0, 1].any()

    top, left, bottom, right = placement(size, (96, 96), "letterbox").window
    around = np.ones((96, 96), bool)
    around[top:bottom, left:right] = False
    assert (image[around] == GREY).all() and (segmentation[around] == VOID).all()
    assert not (segmentation[~around] == VOID).any() and around.any() == (size != (96, 96))


def test_what_a_model_says_of_the_window():
    placed = placement((50, 100), (64, 64), "letterbox")
    whole = np.arange(64 * 64 * 2).reshape(64, 64, 2)
    np.testing.assert_array_equal(placed.cut(whole), whole[16:48])
    np.testing.assert_array_equal(placed.cut(whole[::4, ::4]), whole[16:48:4, ::4])  # at a quarter of the size
    thin = placement((1, 1000), (64, 64), "letterbox")
    np.testing.assert_array_equal(thin.cut(whole[::8, ::8]), whole[32:33, ::8])  # of less than a row one is left
    np.testing.assert_array_equal(placement((50, 100), (64, 64)).cut(whole), whole)


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="crop"):
        placement((1, 1), (2, 2), "crop")

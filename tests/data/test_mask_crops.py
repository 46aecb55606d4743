"""Masks kept as crops over frames, and rows of different length."""

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.data.mask_crops import CROP, FULL, Ragged, crop

SIZE = (40, 80)


def mask(rows, columns):
    """Pixels of a rectangle, in a picture of SIZE."""
    out = np.zeros(SIZE, bool)
    out[slice(*rows), slice(*columns)] = True
    return out


def box(y1, x1, y2, x2):
    return (np.array([y1, x1, y2, x2]) / np.tile(SIZE, 2)).astype("float32")


def test_a_mask_that_fills_its_box_fills_the_crop():
    pixels, frame = crop(mask((4, 20), (10, 70)), box(4, 10, 20, 70))
    assert pixels.shape == (CROP, CROP) and pixels.dtype == np.uint8 and (pixels == FULL).all()
    np.testing.assert_array_equal(frame, box(4, 10, 20, 70))


def test_each_cell_holds_the_share_that_is_covered():
    """Of 40 rows over 112 cells, 7 in 20 pixels: what a cell holds is worked out by hand at the border."""
    pixels, frame = crop(mask((0, 21), (0, 80)), box(0, 0, 40, 80))
    np.testing.assert_array_equal(frame, [0, 0, 1, 1])
    border = 21 / 40 * CROP  # 58.8
    np.testing.assert_array_equal(pixels[:58], FULL)
    np.testing.assert_allclose(pixels[58], (border - 58) * FULL, atol=0.51)
    np.testing.assert_array_equal(pixels[59:], 0)


def test_a_frame_is_widened_where_the_mask_sticks_out():
    pixels, frame = crop(mask((0, 20), (30, 40)), box(10, 30, 30, 50))
    np.testing.assert_array_equal(frame, box(0, 30, 30, 50))
    assert (pixels[:74, :56] == FULL).all() and not pixels[75:].any() and not pixels[:, 56:].any()


def test_one_pixel_has_a_frame_with_area(paste):
    one = mask((7, 8), (9, 10))
    pixels, frame = crop(one, box(7.4, 9.2, 7.6, 9.4))  # a box of less than a pixel
    np.testing.assert_allclose(frame, box(7, 9, 8, 10), atol=1e-7)
    assert (pixels == FULL).all()
    np.testing.assert_array_equal(paste(pixels, frame, SIZE), one)


def test_a_mask_without_a_pixel_is_none():
    pixels, frame = crop(np.zeros(SIZE, bool), box(4, 4, 8, 8))
    assert not pixels.any() and not frame.any()


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "objects"), [("PennFudanPed", 60), ("dsb2018", 200)])
def test_real_masks_come_back(folder, objects, shared_data, paste):
    """Objects of more than 20 pixels, which are smaller and larger than a crop."""
    found = []
    for sample in datasets.load(shared_data / folder, check=False).samples:
        example = sample.read()
        size = example["image"].shape[:2]
        for whole, corners in zip(example["masks"], example["boxes"], strict=True):
            if np.min((corners[2:] - corners[:2]) * size) > 20:
                back = paste(*crop(whole, corners), size)
                found.append(np.sum(back & whole) / np.sum(back | whole))
        if len(found) >= objects:
            break
    assert len(found) >= objects and min(found) >= 0.97


def test_rows_of_different_length():
    rows = Ragged(np.arange(12).reshape(6, 2), np.array([0, 3, 3, 6]), most=4)
    assert rows.shape == (3, 4, 2) and len(rows) == 3 and rows.dtype == np.arange(1).dtype
    last, first, none = rows[np.array([2, 0, 1])]
    np.testing.assert_array_equal(last, [[6, 7], [8, 9], [10, 11], [0, 0]])
    np.testing.assert_array_equal(first, [[0, 1], [2, 3], [4, 5], [0, 0]])
    assert not none.any()

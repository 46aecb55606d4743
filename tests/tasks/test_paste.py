"""Pasted masks against a loop over pixels, by hand, and against RoIAlign, which takes back what was pasted."""

import math
import subprocess
import sys

import numpy as np
import pytest

from kerastransfer.tasks.paste import paste

SIZE = (23, 31)


def looped(mask, box, size, threshold):
    """Pixel by pixel from the definition."""
    cells = len(mask)
    out = np.zeros(size, bool)
    y1, x1, y2, x2 = box * np.array([*size, *size])
    for row in range(size[0]):
        for column in range(size[1]):
            v = (row + 0.5 - y1) / (y2 - y1) * cells - 0.5
            u = (column + 0.5 - x1) / (x2 - x1) * cells - 0.5
            top, left = math.floor(v), math.floor(u)
            value = 0.0
            for y, down in ((top, 1 - (v - top)), (top + 1, v - top)):
                for x, along in ((left, 1 - (u - left)), (left + 1, u - left)):
                    if 0 <= y < cells and 0 <= x < cells:
                        value += down * along * mask[y, x]
            out[row, column] = value >= threshold
    return out


@pytest.mark.parametrize("threshold", [0.3, 0.5])
@pytest.mark.parametrize("cells", [1, 7])
def test_equals_a_loop(cells, threshold):
    """Boxes inside, across the edges, outside, larger than the image and smaller than a pixel."""
    random = np.random.default_rng(0)
    boxes = np.sort(random.uniform(-0.4, 1.4, (12, 2, 2)), axis=1).reshape(12, 4)
    boxes = np.concatenate([boxes, [[-2, -3, 4, 3.5], [0.41, 0.2, 0.43, 0.9], [1.2, 0.1, 1.6, 0.5]]])
    masks = random.uniform(0, 1, (15, cells, cells))
    got = paste(masks, boxes, SIZE, threshold)
    assert got.dtype == bool and got.shape == (15, *SIZE)
    expected = [looped(mask, box, SIZE, threshold) for mask, box in zip(masks, boxes, strict=True)]
    np.testing.assert_array_equal(got, expected)
    assert 0.02 < np.mean(expected) < 0.6


def test_ones_end_at_the_sides_of_the_box():
    """Half a cell inside all is covered, nothing outside, and along the sides the contour is the box (section 10)."""
    size, cells = (200, 300), 28
    box = np.array([20.3, 31.7, 120.9, 250.2])  # in pixels
    (got,) = paste(np.ones((1, cells, cells)), box[None] / np.array([*size, *size]), size)
    y, x = (np.arange(side) + 0.5 for side in size)

    def within(margin_y, margin_x):
        rows = (y >= box[0] + margin_y) & (y <= box[2] - margin_y)
        return np.outer(rows, (x >= box[1] + margin_x) & (x <= box[3] - margin_x))

    cell = (box[2] - box[0]) / cells / 2, (box[3] - box[1]) / cells / 2
    assert got[within(*cell)].all()
    assert not got[~within(0, 0)].any()
    np.testing.assert_array_equal(got[:, 140], within(0, 0)[:, 140])
    np.testing.assert_array_equal(got[70], within(0, 0)[70])
    assert 0 < (within(0, 0) & ~got).sum() < 40  # the corners: there two sides meet


def test_cells_as_large_as_pixels_are_pixels():
    mask = np.random.default_rng(1).uniform(0, 1, (5, 5))
    (got,) = paste(mask[None], np.array([[2, 3, 7, 8]]) / np.array([10, 12, 10, 12]), (10, 12))
    expected = np.zeros((10, 12), bool)
    expected[2:7, 3:8] = mask >= 0.5
    np.testing.assert_array_equal(got, expected)


def test_roi_align_takes_back_what_was_pasted():
    """Of smooth blobs, but for the cells that the contour crosses."""
    from kerastransfer.ops.roi_align import roi_align

    size, cells = (180, 240), 14
    centres = np.arange(cells) + 0.5 - cells / 2
    distance = np.hypot(centres[:, None], centres * 1.2)
    masks = np.stack([1 / (1 + np.exp(distance - radius)) for radius in (3, 5)])
    boxes = np.array([[0.1, 0.2, 0.9, 0.7], [0.3, 0.05, 0.8, 0.95]])
    pasted = paste(masks, boxes, size).astype("float32")
    back = roi_align(pasted[..., None], boxes[:, None].astype("float32"), cells, sampling_ratio=0)
    back = np.asarray(back)[:, 0, ..., 0]
    clear = np.abs(distance - np.array([3, 5])[:, None, None]) > 1
    assert clear.mean() > 0.6
    np.testing.assert_allclose(back[clear], (masks > 0.5)[clear], atol=0.02)


def test_boxes_without_area_and_no_boxes():
    boxes = np.array([[0, 0, 0, 0], [0.2, 0.2, 0.2, 0.8], [0.8, 0.2, 0.2, 0.8], [0.2, 0.8, 0.8, 0.2]])
    assert not paste(np.ones((4, 3, 3)), boxes, SIZE).any()
    assert paste(np.ones((0, 3, 3)), np.zeros((0, 4)), SIZE).shape == (0, *SIZE)


def test_a_threshold_that_everything_passes_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        paste(np.ones((1, 3, 3)), np.array([[0, 0, 1, 1]]), SIZE, threshold=0)


def test_it_needs_neither_keras_nor_tensorflow():
    code = "import sys, kerastransfer.tasks.paste; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded and {"keras", "tensorflow", "scipy"}.isdisjoint(loaded)

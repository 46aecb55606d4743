"""Slices of volumes: which way they are turned, and what is drawn."""

import numpy as np
import pytest

from kerastransfer.report import volumes
from kerastransfer.report.pictures import TILE


def test_slices_pass_through_a_point_with_the_top_upwards():
    volume = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    left, front, above = volumes.slices(volume, (1, 2, 3))
    assert (left.shape, front.shape, above.shape) == ((5, 4), (5, 3), (4, 3))
    assert left[0, 0] == volume[1, 0, 4] and left[-1, -1] == volume[1, 3, 0]
    assert front[0, 0] == volume[0, 2, 4] and above[0, 0] == volume[0, 3, 3]


def test_the_middle_is_that_of_the_labels():
    labels = np.zeros((5, 6, 7))
    assert volumes.middle(labels) == (2, 2, 3)
    labels[1, 2:5, 4] = 2
    assert volumes.middle(labels) == (1, 3, 4)


def test_pictures_have_a_tile_for_each_slice():
    rng = np.random.default_rng(0)
    cube = rng.random((4, 8, 6))
    sheet = volumes.restored([(cube, cube, cube)] * 2, ["a", "b"])
    assert sheet.width == pytest.approx(3 * TILE, abs=30) and sheet.height > 3 * TILE
    labels = rng.integers(0, 3, cube.shape)
    one = {"names": ["best: a"], "scores": {"net": [0.5], "other": [0.7]}}
    found = {"net": [labels], "other": [labels]}
    flat = volumes.segmented([cube], [labels], found, spacings=[None], **one)
    assert flat.width == pytest.approx(4 * TILE, abs=40)
    # Voxels that are three times as high make the slices higher, but not those from above.
    high = volumes.segmented([cube], [labels], found, spacings=[(1.0, 1.0, 3.0)], **one)
    assert high.height > flat.height

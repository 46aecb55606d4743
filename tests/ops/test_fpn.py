"""The level of the pyramid, worked out by hand."""

import numpy as np
import pytest

from kerastransfer.ops.fpn import fpn_level


@pytest.mark.parametrize(
    ("height", "width", "level"),
    [
        (224, 224, 4),
        (223, 224, 3),  # anything smaller is of the level below
        (447, 448, 4),
        (448, 448, 5),
        (112, 448, 4),  # the area counts, not the longer side
        (112, 112, 3),
        (111, 112, 3),  # clamped; by the rule 2
        (1000, 900, 5),  # clamped; by the rule 6
        (1, 1, 3),
        (0, 50, 3),
    ],
)
def test_levels_by_hand(height, width, level):
    size = (1024, 2048)
    box = np.array([[[0.0, 0.0, height / size[0], width / size[1]]]], "float32")
    found = np.asarray(fpn_level(box, size))
    assert found.shape == (1, 1) and found.dtype == np.int32 and found[0, 0] == level


def test_levels_of_another_pyramid():
    box = np.array([0.25, 0.25, 0.75, 0.75], "float32")  # 128 pixels
    assert int(fpn_level(box, (256, 256))) == 3
    assert int(fpn_level(box, (256, 256), k0=5)) == 4
    assert int(fpn_level(box, (256, 256), k0=8)) == 5
    assert int(fpn_level(box, (256, 256), k0=8, largest=9)) == 7
    assert int(fpn_level(box / 8, (256, 256), smallest=2)) == 2

"""Windows cover the image once, are of one size, and have the halo that was asked for."""

import numpy as np
import pytest

from kerastransfer.data.tiles import Tiles, spans


@pytest.mark.parametrize("stride", [1, 2, 8])
@pytest.mark.parametrize(("side", "tile", "halo"), [(100, 16, 5), (97, 32, 30), (10, 64, 3), (64, 64, 0), (33, 1, 2)])
def test_spans(side, tile, halo, stride):
    found, length = spans(side, tile, halo, stride)
    assert [span.start for span in found] == [0, *(span.stop for span in found[:-1])] and found[-1].stop == side
    for span in found:
        end = span.window + length
        assert span.window % stride == 0 and 0 <= span.window <= span.start and span.stop <= end <= side
        assert span.window == 0 or span.start - span.window >= halo
        assert end == side or end - span.stop >= halo


def test_windows_hold_the_pixels():
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3)).astype("uint8")
    tiles = Tiles(image, tile=8, halo=3, stride=2)
    whole, sizes = np.full(image.shape, -1.0), set()
    for rows, columns, window in tiles:
        sizes.add(window.shape)
        inner = window[0, rows.start - rows.window :, columns.start - columns.window :]
        inner = inner[: rows.stop - rows.start, : columns.stop - columns.start]
        whole[rows.start : rows.stop, columns.start : columns.stop] = inner
    assert len(sizes) == 1 and len(tiles) == len(list(tiles)) == 15
    np.testing.assert_array_equal(whole, image)

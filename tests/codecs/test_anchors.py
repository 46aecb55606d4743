import numpy as np
from keras import ops

from kerastransfer.codecs.anchors import anchors, shapes


def test_shapes_have_the_area_and_the_ratio():
    found = np.array(shapes(32, (1, 2), (0.5, 1, 4)))
    np.testing.assert_allclose(found.prod(1), [32**2] * 3 + [64**2] * 3)
    np.testing.assert_allclose(found[:, 0] / found[:, 1], [0.5, 1, 4] * 2)


def test_boxes_by_hand():
    """A map of 1 x 2 with two shapes, and one of 1 x 1 with another."""
    got = ops.convert_to_numpy(anchors([(1, 2), (1, 1)], [8, 16], [[(4, 2), (8, 8)], [(20, 10)]]))
    wanted = [[2, 3, 6, 5], [0, 0, 8, 8], [2, 11, 6, 13], [0, 8, 8, 16], [-2, 3, 18, 13]]
    np.testing.assert_allclose(got, wanted)


def test_rows_before_columns():
    got = ops.convert_to_numpy(anchors([(3, 2)], [10], [[(2, 2)]]))
    np.testing.assert_allclose((got[:, :2] + got[:, 2:]) / 2, [[y, x] for y in (5, 15, 25) for x in (5, 15)])

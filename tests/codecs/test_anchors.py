import detection_references as references
import numpy as np
from keras import ops

from kerastransfer.codecs.anchors import anchors, rounded_shapes, shapes


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


def test_rounded_shapes_are_those_of_detectron():
    """Its table for RetinaNet (LabelEnc's code): width x height for each stride, at the scale 1."""
    table = {
        8: ["44x24", "32x32", "24x48"],
        16: ["92x48", "64x64", "44x88"],
        32: ["180x88", "128x128", "92x184"],
        64: ["364x184", "256x256", "180x360"],
        128: ["724x360", "512x512", "364x728"],
    }
    for stride, sizes in table.items():
        assert [f"{w:g}x{h:g}" for h, w in rounded_shapes(stride)] == sizes
    octave = rounded_shapes(8, scales=(1, 2 ** (1 / 3)))
    np.testing.assert_allclose(octave[3:], np.array(octave[:3]) * 2 ** (1 / 3))


def test_as_torchvision_makes_them():
    """It rounds each anchor for itself, and puts them on the corners of the cells."""
    sizes, ratios = references.anchors_inputs().values()

    def rounded(side, ratio):
        return [(2 * round(h / 2), 2 * round(w / 2)) for h, w in shapes(side[0], (1, side[1] / side[0]), (ratio,))]

    own = [[shape for ratio in ratios for shape in rounded(side, ratio)] for side in sizes]
    got = ops.convert_to_numpy(anchors([(4, 5), (2, 2)], [8, 16], own))
    expected = references.expected("anchors")["anchors"]
    np.testing.assert_allclose(got[:120] - 4, expected[:120])
    # It takes 40 pixels of 2 cells for a stride of 20; so only the first of each two.
    first = [120 + row * 12 + number for row in (0, 1) for number in range(6)]
    np.testing.assert_allclose(got[first] - 8, expected[first])

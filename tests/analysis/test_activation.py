"""Activation maps: scaled and enlarged, and how they cover boxes."""

import numpy as np
import pytest
from PIL import Image

from kerastransfer.analysis import activation, bilinear
from kerastransfer.analysis.activation import Settings, averaged, cover, enlarged, region
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.analysis.material import Features
from kerastransfer.errors import UserError

SIDE = 32


def material(images=12, cells=8, seed=0, **changes):
    """A detector that is active on the whole object of each image, and a classifier that is on one cell of it."""
    random = np.random.default_rng(seed)
    maps = {name: random.uniform(0, 0.2, (images, cells, cells, 5)) for name in ("detector", "classifier")}
    found = []
    for image in range(images):
        y, x = random.integers(0, cells - 4, 2)
        maps["detector"][image, y : y + 4, x : x + 4] += 3
        maps["classifier"][image, y + 1, x + 1] += 3
        found.append(np.array([[y, x, y + 4, x + 4]]) / cells)
    given = {
        "names": [f"{i:04d}" for i in range(images)],
        "images": random.integers(0, 256, (images, SIDE, SIDE, 3), np.uint8),
        "maps": {name: values.astype("float16") for name, values in maps.items()},
        "pooled": {name: values.mean(axis=(1, 2)) for name, values in maps.items()},
        "heads": {"detector": {}, "classifier": {}},
        "encoders": {},
        "labels": None,
        "classes": [],
        "train": np.zeros(images, bool),
        "boxes": found,
        "mean": np.zeros(3),
    }
    return Features(**{**given, **changes})


def test_the_average_has_the_range_of_its_image():
    maps = np.zeros((2, 2, 2, 2))
    maps[0, :, :, 0] = [[1, 3], [5, 5]]
    maps[1, 0, 1] = [4, 8]
    np.testing.assert_allclose(averaged(maps), [[[0, 0.5], [1, 1]], [[0, 1], [0, 0]]])
    np.testing.assert_allclose(averaged(7 * maps), averaged(maps))


def test_values_below_0_count_as_0():
    maps = np.random.default_rng(0).normal(size=(3, 4, 4, 6))
    np.testing.assert_array_equal(averaged(maps), averaged(np.maximum(maps, 0)))
    np.testing.assert_allclose(averaged(np.where(maps > 0, maps, 0.1 * maps)), averaged(maps))


def test_a_constant_map_has_no_range():
    assert np.isnan(averaged(np.full((1, 3, 3, 2), 0.7))).all()
    assert np.isnan(averaged(np.full((1, 3, 3, 2), -1.0))).all()


@pytest.mark.parametrize(("cells", "size"), [((7, 7), (28, 28)), ((4, 6), (20, 36)), ((3, 3), (10, 10))])
def test_enlarging_is_that_of_pillow(cells, size):
    maps = np.random.default_rng(0).uniform(size=(2, *cells)).astype("float32")
    for got, one in zip(enlarged(maps, size), maps, strict=True):
        wanted = np.asarray(Image.fromarray(one).resize(size[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_interpolation_between_uneven_places():
    maps = np.array([[[0.0, 4.0], [8.0, 12.0]]])
    found = bilinear.enlarged(maps, np.array([1, 3]), np.array([0, 4]), (5, 5))[0]
    np.testing.assert_allclose(found[:, 0], [0, 0, 4, 8, 8])
    np.testing.assert_allclose(found[1], [0, 1, 2, 3, 4])


def test_the_region_of_boxes_is_their_union():
    boxes = np.array([[0, 0, 0.5, 0.5], [0.25, 0.25, 0.75, 1.0]])
    inside = region(boxes, (8, 4))
    assert inside.sum() == 4 * 2 + 4 * 3 - 2 * 1
    assert not region(np.zeros((0, 4)), (8, 8)).any() and region([[0, 0, 1, 1]], (5, 7)).all()
    # A line between two centres covers none.
    assert not region([[0.3, 0, 0.3, 1]], (8, 8)).any()


def test_cover_by_hand():
    shown = np.zeros((3, 4, 4))
    shown[0, :2, :2] = 1
    shown[0, 3, 3] = 0.5
    shown[1] = np.nan
    shown[2, 0, 0] = 1
    box = np.array([[0, 0, 0.5, 1.0]])
    found = cover(shown, [box, box, np.zeros((0, 4))])
    # Of the 8 pixels in the box 4 are active, and one beside it.
    np.testing.assert_allclose(found.iou, [4 / 9, np.nan, np.nan])
    np.testing.assert_allclose(found.mass, [4 / 4.5, np.nan, np.nan])


def test_activation_that_is_the_box_covers_it():
    given = region([[0.25, 0.25, 0.75, 0.75]], (16, 16)).astype(float)
    found = cover(given[None], [np.array([[0.25, 0.25, 0.75, 0.75]])])
    assert found.iou[0] == found.mass[0] == 1


def test_the_study_tells_a_whole_object_from_a_part():
    findings = activation.study(Settings(pictures=3), material())
    (claim,) = findings.claims
    assert claim.held and claim.measured == "IoU of the active region with the boxes, detector minus classifier"
    numbers = findings.numbers
    assert numbers["detector"]["iou_boxes"] > 0.6 > 0.3 > numbers["classifier"]["iou_boxes"]
    difference = numbers["detector"]["iou_boxes"] - numbers["classifier"]["iou_boxes"]
    assert claim.difference.value == pytest.approx(difference)
    assert numbers["detector"]["area of boxes"] == pytest.approx(1 / 4)
    assert numbers["detector"]["mass in boxes"] > numbers["classifier"]["mass in boxes"]
    ((name, figure, picture),) = findings.figures
    assert name == "activation" and not figure.chart and picture.height > 3 * picture.width / 4


def test_blocks_change_nothing(monkeypatch):
    whole = activation.study(Settings(pictures=0), material()).numbers
    monkeypatch.setattr(activation, "BLOCK", 5)
    for model, numbers in activation.study(Settings(pictures=0), material()).numbers.items():
        assert numbers == pytest.approx(whole[model])


def test_without_boxes_there_are_figures_alone():
    findings = activation.study(Settings(pictures=2), material(boxes=None))
    assert not findings.numbers and not findings.claims and not findings.tables and len(findings.figures) == 1
    assert "no boxes" in findings.text[-1]
    with pytest.raises(LeftOut, match="no boxes, and no pictures"):
        activation.study(Settings(pictures=0), material(boxes=None))


def test_images_without_boxes_do_not_count():
    given = material()
    boxes = [*given.boxes[:-1], np.zeros((0, 4))]
    assert activation.study(Settings(), material(boxes=boxes)).numbers["detector"]["images"] == 11
    with pytest.raises(LeftOut, match="no image has a box"):
        activation.study(Settings(), material(boxes=[np.zeros((0, 4))] * 12))


def test_maps_that_cannot_be_used_are_named():
    maps = {name: values.copy() for name, values in material().maps.items()}
    maps["classifier"][7, 2, 2, 1] = np.inf
    with pytest.raises(UserError, match="the map of classifier for 0007 is not finite"):
        activation.study(Settings(), material(maps=maps))
    maps["classifier"][:] = 0.5
    with pytest.raises(UserError, match="the maps of classifier are the same everywhere"):
        activation.study(Settings(), material(maps=maps))


def test_a_single_constant_map_is_left_out_of_the_mean():
    maps = {name: values.copy() for name, values in material().maps.items()}
    maps["detector"][3] = 0
    findings = activation.study(Settings(pictures=12), material(maps=maps))
    assert findings.numbers["detector"]["images"] == 11 and findings.numbers["classifier"]["images"] == 12


def test_settings_that_cannot_work():
    with pytest.raises(UserError, match="pictures is -1"):
        Settings(pictures=-1)

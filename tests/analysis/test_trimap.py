"""Trimap and anti-trimap IoU against SciPy's dilation, on circles, and on real void pixels."""

import time

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from kerastransfer.analysis import trimap
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.analysis.material import Segmented
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID


def iter_all(items):
    return iter(items)


def maps(images=4, classes=3, size=(30, 41), seed=0):
    """Smooth truths with void pixels, and predictions that are partly right."""
    random = np.random.default_rng(seed)
    truths = random.integers(0, classes, (images, 3, 4)).repeat(12, axis=1).repeat(12, axis=2)[:, : size[0], : size[1]]
    predictions = np.where(random.random(truths.shape) < 0.6, truths, random.integers(0, classes, truths.shape))
    truths[random.random(truths.shape) < 0.01] = VOID
    return predictions.astype(np.uint8), truths.astype(np.uint8)


def by_dilation(prediction, truth, width, classes, element):
    """Confusion in and outside of the band, from the definition: the void mask dilated by an explicit disk."""
    reach = np.arange(-width, width + 1)
    across = reach[:, None] ** 2 + reach**2 <= width**2
    shape = across if element == "disk" else np.ones_like(across)
    band = ndimage.binary_dilation(truth == VOID, shape)
    found = []
    for kept in (band & (truth != VOID), ~band & (truth != VOID)):
        table = np.zeros((classes, classes), int)
        np.add.at(table, (truth[kept], prediction[kept]), 1)
        found.append(table)
    return found


def plain_mean(table):
    """Mean IoU over the classes that are there, written out."""
    values = []
    for k in range(len(table)):
        union = table[k].sum() + table[:, k].sum() - table[k, k]
        if union:
            values.append(table[k, k] / union)
    return np.mean(values) if values else np.nan


@pytest.mark.parametrize("element", ["disk", "square"])
def test_bands_are_scipys_dilation(element):
    predictions, truths = maps()
    widths = [3, 0, 1, 7, 2, 16]
    found = trimap.curves(iter(predictions), iter(truths), widths, element=element)
    for place, width in enumerate(widths):
        pairs = [by_dilation(*one, width, 3, element) for one in zip(predictions, truths, strict=True)]
        near, far = (np.sum(tables, axis=0) for tables in zip(*pairs, strict=True))
        np.testing.assert_array_equal(found.trimap_confusion[place], near)
        np.testing.assert_array_equal(found.anti_trimap_confusion[place], far)
        np.testing.assert_allclose(found.trimap[place], plain_mean(near))
        np.testing.assert_allclose(found.anti_trimap[place], plain_mean(far))


def test_both_parts_together_are_all_pixels():
    predictions, truths = maps(seed=1)
    found = trimap.curves(predictions, truths, range(41))
    known = truths != VOID
    table = np.zeros((3, 3), int)
    np.add.at(table, (truths[known], predictions[known]), 1)
    for near, far in zip(found.trimap_confusion, found.anti_trimap_confusion, strict=True):
        np.testing.assert_array_equal(near + far, table)


def test_a_band_of_width_0_is_empty():
    predictions, truths = maps()
    found = trimap.curves(predictions, truths, [0])
    assert np.isnan(found.trimap[0]) and not found.trimap_confusion.any()
    assert found.anti_trimap[0] == pytest.approx(plain_mean(found.anti_trimap_confusion[0]))
    assert found.anti_trimap_confusion.sum() == (truths != VOID).sum()


def circle(radius, side=101):
    rows, columns = np.mgrid[:side, :side] - side // 2
    return np.hypot(rows, columns), (np.hypot(rows, columns) <= radius).astype(np.uint8)


def test_a_circle_that_is_too_large_or_too_small_is_wrong_near_its_contour_alone():
    """A void line one pixel wide round a circle: errors of up to 3 pixels are in the band of 5 and not outside."""
    distance, inside = circle(30)
    truth = np.where(np.abs(distance - 30) <= 0.8, VOID, inside)
    larger, smaller = (circle(radius)[1] for radius in (32, 28))
    for prediction in (larger, smaller):
        found = trimap.curves([prediction], [truth], [1, 5, 20])
        np.testing.assert_allclose(found.anti_trimap[1:], 1)
        assert found.trimap[0] < found.trimap[1] < found.trimap[2] < 1
        # The band of 5 is near a ring of circumference 2 pi 30 that is 10 wide.
        assert found.trimap_confusion[1].sum() == pytest.approx(2 * np.pi * 30 * 10, rel=0.05)
    # Flipping inside and outside, in truth and prediction, changes nothing.
    flipped = trimap.curves([1 - larger], [np.where(truth == VOID, VOID, 1 - truth)], [1, 5, 20])
    np.testing.assert_allclose(flipped.trimap, trimap.curves([larger], [truth], [1, 5, 20]).trimap)
    # And neither does a turn or a mirror.
    turned = trimap.curves([larger.T[::-1]], [truth.T[::-1]], [1, 5, 20])
    np.testing.assert_array_equal(
        turned.trimap_confusion, trimap.curves([larger], [truth], [1, 5, 20]).trimap_confusion
    )


def test_classes_that_are_not_in_a_region_are_left_out():
    """Class 2 is far from the void line alone, and class 9 nowhere."""
    truth = np.zeros((20, 20), np.uint8)
    truth[:, 0], truth[:, 19] = VOID, 2
    found = trimap.curves([np.where(truth == VOID, 0, truth)], [truth], [3], num_classes=10)
    assert found.trimap[0] == found.anti_trimap[0] == 1
    assert found.trimap_confusion.shape == (1, 10, 10)
    wrong = np.where(truth == VOID, 0, truth)
    wrong[0, 2] = 5
    found = trimap.curves([wrong], [truth], [3], num_classes=10)
    assert found.trimap[0] == pytest.approx((59 / 60 + 0) / 2) and found.anti_trimap[0] == 1


def test_images_of_any_size_and_more_classes_later():
    one, other = np.zeros((4, 5), np.uint8), np.full((7, 3), 6, np.uint8)
    found = trimap.curves([one, other], [one, other], [2])
    assert found.anti_trimap_confusion.shape == (1, 7, 7)
    assert found.anti_trimap_confusion[0, 0, 0] == 20 and found.anti_trimap_confusion[0, 6, 6] == 21
    assert np.isnan(found.trimap[0]), "an image without void is outside of every band"


def test_forty_widths_cost_hardly_more_than_one():
    truth = np.zeros((500, 375), np.uint8)
    truth[100:300, 100:250] = 1
    truth[trimap.void_line(truth)] = VOID
    prediction = np.roll(np.where(truth == VOID, 0, truth), 4, axis=0)

    def seconds(widths):
        taken = []
        for _ in range(3):
            started = time.process_time()
            trimap.curves([prediction] * 2, [truth] * 2, widths, num_classes=21)
            taken.append(time.process_time() - started)
        return min(taken)

    assert seconds(range(1, 41)) < 3 * seconds([20])


def test_what_is_no_map_is_refused():
    truth = np.zeros((3, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(2, 3\) pixels for a truth of \(3, 3\)"):
        trimap.curves([truth[1:]], [truth], [1])
    with pytest.raises(ValueError, match=r"holds 0\.\.4; classes are 0\.\.2"):
        trimap.curves([truth + 4], [truth], [1], num_classes=3)
    with pytest.raises(ValueError, match="numbers from 0"):
        trimap.curves([truth], [truth], [-1])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        trimap.curves([truth, truth], [truth], [1])
    with pytest.raises(ValueError, match="'disk' or 'square'"):
        trimap.curves([truth], [truth], [1], element="cross")


def test_the_void_line_is_two_pixels_on_both_sides_of_a_contour():
    truth = np.zeros((9, 14), np.uint8)
    truth[:, 7:] = 1
    np.testing.assert_array_equal(
        trimap.void_line(truth), (np.arange(14) >= 4) & (np.arange(14) <= 9) & np.ones((9, 1), bool)
    )
    assert not trimap.void_line(np.full((5, 5), 3)).any()
    # A corner alone is no neighbour.
    truth = np.zeros((40, 40), np.uint8)
    truth[:20, :20] = truth[20:, 20:] = 1
    line = trimap.void_line(truth)
    assert line[19, 19] and not line[10, 10] and not line[16, 16] and line[17, 17]


def segmented(found, truths, classes=3):
    names = [f"image {number}" for number in range(len(truths))]
    return Segmented(
        names,
        [f"class {k}" for k in range(classes)],
        truths.__getitem__,
        {name: predictions.__getitem__ for name, predictions in found.items()},
    )


def blobs(images, seed=0, side=72):
    """Truths of a smooth object each, with a void line, and without it."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=(images, side, side)), (0, 10, 10))
    plain = (smooth > 0).astype(np.uint8)
    return plain, np.stack([np.where(trimap.void_line(one), VOID, one) for one in plain])


def flipped(plain, shares, seed):
    """Predictions with a share of wrong pixels by distance to the contour, `shares` (near, far)."""
    random = np.random.default_rng(seed)
    near = np.stack([trimap._bands(np.where(trimap.void_line(one), VOID, one), [10], "disk") for one in plain]) == 0
    return np.where(random.random(plain.shape) < np.where(near, *shares), 1 - plain, plain).astype(np.uint8)


SETTINGS = trimap.Settings(widest=20, interior=10, resamples=200)


@pytest.mark.parametrize(
    ("better", "worse", "anti", "constant"),
    [
        ((0.1, 0.1), (0.2, 0.2), True, True),
        ((0.1, 0.1), (0.4, 0.1), None, True),
        ((0.1, 0.3), (0.1, 0.1), False, False),
        ((0.2, 0.2), (0.1, 0.1), False, False),
    ],
)
def test_claims_are_about_where_the_gap_is(better, worse, anti, constant):
    plain, truths = blobs(25)
    material = segmented(
        {"detection": flipped(plain, better, 1), "classification": flipped(plain, worse, 2)}, truths, 2
    )
    findings = trimap.study(SETTINGS, material, iter_all)
    away, steady = findings.claims
    assert away.held == anti
    assert steady.held == constant
    table = dict(findings.tables[0].rows)
    assert away.difference == table["anti-trimap, 10 pixels"][2]
    first, second = (findings.numbers[name]["iou_trimap/5"] for name in ("detection", "classification"))
    assert table["trimap, 5 pixels"][2].value == pytest.approx(first - second)
    one = trimap.curves(flipped(plain, better, 1), truths, [5, 10])
    assert first == pytest.approx(one.trimap[0])
    assert findings.numbers["detection"]["iou_anti_trimap/10"] == pytest.approx(one.anti_trimap[1])


def test_a_gap_that_fades_with_the_width_is_not_constant():
    gap = np.array([0.10, 0.08, 0.05, 0.03, 0.02, 0.01])
    assert trimap._steadiness(gap) < 0 < trimap._steadiness(np.full(6, 0.05))
    assert trimap._steadiness(np.full(6, -0.05)) < 0
    assert trimap._steadiness(gap[::-1]) < 0
    np.testing.assert_allclose(trimap._slope(np.arange(5), np.array([[1, 3, 5, 7, 9], [2, 2, 2, 2, 2]])), [2, 0])


def test_a_line_is_made_where_no_truth_has_void():
    plain, truths = blobs(6)
    found = {"one": flipped(plain, (0.1, 0.1), 1), "other": flipped(plain, (0.2, 0.1), 2)}
    made, marked = (trimap.study(SETTINGS, segmented(found, given, 2), iter_all) for given in (plain, truths))
    assert made.numbers == marked.numbers
    assert "no void pixels" in made.text[0] and "dilated by 2" in made.text[0]
    assert "no void pixels" not in marked.text[0]


def test_truths_without_contours_are_left_out():
    plain = np.ones((3, 20, 20), np.uint8)
    with pytest.raises(LeftOut, match="no test image has a contour"):
        trimap.study(SETTINGS, segmented({"one": plain, "other": plain}, plain), iter_all)


def test_small_images_have_no_pixels_outside_of_wide_bands():
    truths = np.zeros((2, 24, 24), np.uint8)
    truths[:, :, 12:] = 1
    truths[:, :, 12] = VOID
    found = {"one": (truths == 1).astype(np.uint8), "other": np.zeros_like(truths)}
    findings = trimap.study(trimap.Settings(resamples=50), segmented(found, truths, 2), iter_all)
    assert findings.text[-1] == "From 12 pixels on, the bands cover all images."
    assert np.isnan(findings.numbers["one"]["iou_anti_trimap/40"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widest": 0}, "--trimap.widest is 0; it must be above 0"),
        ({"widest": 5}, "--trimap.interior is 10 and the widest band is 5 pixels"),
        ({"resamples": 0}, "--trimap.resamples is 0"),
    ],
)
def test_settings_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        trimap.Settings(**values)


def test_real_void_pixels(shared_data):
    """A prediction that is the truth, eroded: wrong near contours, and right away from them."""
    folder = shared_data / "VOCdevkit/VOC2012/SegmentationClass"
    truths = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    assert truths
    predictions = [np.where(ndimage.grey_erosion(np.where(one == VOID, 0, one), 7) > 0, one, 0) for one in truths]
    predictions = [np.where(one == VOID, 0, one) for one in predictions]
    found = trimap.curves(predictions, truths, range(1, 41), num_classes=21)
    assert (found.trimap < found.anti_trimap).all() and found.anti_trimap[9] > 0.99
    assert found.trimap[0] < found.trimap[4] < found.trimap[19]

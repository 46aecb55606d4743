import numpy as np
import pytest
from PIL import ImageColor

from kerastransfer.data.dataset import BadSampleError, Dataset, Sample
from kerastransfer.data.toy import toy
from kerastransfer.report import pictures, style

GREEN = np.zeros((40, 80, 3), np.uint8) + np.array([0, 120, 0], np.uint8)


def rgb(index):
    return ImageColor.getrgb(style.colour(index))


def test_a_box_lies_where_it_should():
    picture = np.asarray(pictures.draw_boxes(GREEN, [[0.5, 0.25, 1.0, 0.75], [0, 0, 1, 1]], [1, -1], "ab", size=160))
    y, x = np.nonzero((picture[45:] == rgb(1)).all(-1))  # below the tag that stands on its upper edge
    assert picture.shape == (80, 160, 3)
    assert (x.min(), x.max()) == (40, 119) and y.max() + 45 == 79
    assert not (picture == rgb(0)).all(-1).any()


def test_boxes_at_the_border_keep_their_tags_inside():
    boxes = np.array([[0.0, 0.9, 0.1, 1.0], [0.95, 0.95, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    pictures.draw_boxes(GREEN, boxes, np.array([0, 1, 2]), ["a long name"] * 3, scores=np.array([0.5, 0.9, 0.1]))
    pictures.draw_boxes(GREEN, np.zeros((0, 4)), np.zeros(0, int), [])


def test_a_map_tints_its_pixels_alone():
    segmentation = np.zeros((40, 80), np.uint8)
    segmentation[10:30, 20:60] = 2
    picture = np.asarray(pictures.draw_map(GREEN, segmentation, size=80)).astype(int)
    grey = picture[0, 0]
    assert len(set(grey)) == 1
    np.testing.assert_array_equal(picture[10, 30], rgb(1))  # its outline
    expected = (1 - pictures.TINT) * grey + pictures.TINT * np.array(rgb(1))
    np.testing.assert_allclose(picture[20, 40], expected, atol=1)
    assert ((picture != grey).any(-1) == (segmentation > 0)).all()
    coloured = np.asarray(pictures.draw_map(GREEN, segmentation, colourless=False, size=80))
    np.testing.assert_array_equal(coloured[0, 0], GREEN[0, 0])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1000, 5), (3, 2000)])
def test_images_of_any_shape(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    found = {"boxes": np.array([[0.1, 0.1, 0.9, 0.9]]), "labels": np.array([0]), "scores": np.array([0.9])}
    pictures.detections([image], [found], [found], ["thing"])
    maps = [np.zeros((height, width), np.uint8)]
    pictures.masks([image], maps, {"unet": maps}, names=["best: a"], scores={"unet": [np.nan]})


def test_detections_below_the_least_score_are_not_drawn():
    found = {"boxes": np.array([[0.1, 0.1, 0.9, 0.9]]), "labels": np.array([3]), "scores": np.array([0.2])}
    truth = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    hidden = np.asarray(pictures.detections([GREEN], [truth], [found], "abcd"))
    shown = np.asarray(pictures.detections([GREEN], [truth], [found], "abcd", least_score=0.1))
    assert not (hidden[..., :3] == rgb(3)).all(-1).any()
    assert (shown[..., :3] == rgb(3)).all(-1).any()


def test_best_median_worst():
    scores = np.array([0.1, np.nan, 0.9, 0.5, 0.3, 0.7])
    assert pictures.best_median_worst(scores, 1) == {"best": [2], "median": [3], "worst": [0]}
    assert pictures.best_median_worst(scores[:1], 2) == {"best": [0]}
    assert pictures.best_median_worst(np.array([np.nan])) == {}
    for number in range(1, 12):
        chosen = [i for group in pictures.best_median_worst(np.arange(number), 2).values() for i in group]
        assert len(chosen) == len(set(chosen)) == min(number, len(chosen))


def test_contact_sheet_shows_every_kind_of_sample():
    def broken():
        raise BadSampleError("cannot be decoded")

    drawn = toy(count=3, image_size=64)
    samples = (
        *drawn.samples,
        Sample("bad", broken, frozenset({"boxes"})),
        Sample("labelled", lambda: {"image": GREEN, "label": np.int32(1)}, frozenset({"label"})),
        Sample("bare", lambda: {"image": GREEN}, frozenset()),
        Sample("masks", lambda: {"image": GREEN, "masks": np.ones((1, 40, 80), bool)}, frozenset({"masks"})),
    )
    dataset = Dataset("mixed", samples, drawn.classes, drawn.segmentation_classes, image_classes=("cat", "dog"))
    sheet = pictures.contact_sheet(dataset, columns=4)
    assert sheet.width == 4 * pictures.TILE + 3 * pictures.GAP
    assert sheet.height > 1.5 * pictures.TILE  # two rows, one of them of wide images
    assert pictures.contact_sheet(dataset, count=2).width == 2 * pictures.TILE + pictures.GAP
    pictures.contact_sheet(Dataset("empty", ()))


def test_each_object_has_a_number_and_the_last_is_on_top():
    masks = np.zeros((3, 4, 5), bool)
    masks[0, :2], masks[1, 1:3], masks[2, 3, 4] = True, True, True
    np.testing.assert_array_equal(pictures.numbered(masks), [[1] * 5, [2] * 5, [2] * 5, [0, 0, 0, 0, 3]])
    assert (pictures.numbered(np.ones((255, 2, 2), bool)) == 1).all()  # 255 would be void


def test_instances_are_tinted_where_their_masks_are():
    image = np.full((64, 64, 3), 128, np.uint8)
    box = {"boxes": np.array([[0.0, 0, 1, 1]]), "labels": np.array([0])}
    mask = np.zeros((1, 64, 64), bool)
    mask[0, :32] = True
    found = {**box, "scores": np.array([0.9])}
    plain = np.asarray(pictures.detections([image], [box], [found], ("disc",), columns=1).convert("RGB"))
    tinted = pictures.detections([image], [{**box, "masks": mask}], [{**found, "masks": mask}], ("disc",), columns=1)
    changed = (np.asarray(tinted.convert("RGB")) != plain).any(-1)
    assert changed.any(axis=1).mean() == pytest.approx(0.5, abs=0.1)  # the upper half of both tiles


def test_scattered_images_stand_where_the_map_has_them():
    """Four corners, and two images at one place, of which one is shown."""
    images = np.zeros((6, 8, 8, 3), np.uint8) + np.arange(0, 240, 40, dtype=np.uint8)[:, None, None, None]
    places = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5], [0.5, 0.5]])
    page = pictures.scattered(images, np.array([0, 1, 2, 3, 4, 5]), places, thumbnail=10, size=50)
    shades = np.asarray(page)[5::10, 5::10]
    assert page.size == (50, 50)
    # The y axis goes up.
    np.testing.assert_array_equal(shades[[4, 0, 4, 0, 2], [0, 0, 4, 4, 2], 0], [0, 40, 80, 120, 160])
    assert (shades[..., 3] > 0).sum() == 5
    one = pictures.scattered(images, np.array([3]), np.zeros((1, 2)), thumbnail=10, size=50)
    assert (np.asarray(one)[..., 3] > 0).sum() == 100

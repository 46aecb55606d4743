"""Mask-out maps: which pixels a square hides, where a map changes, and the study of two models."""

import numpy as np
import pytest

from kerastransfer.analysis import mask_out
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.analysis.mask_out import Settings, copies, maps, places, window
from kerastransfer.analysis.material import Features
from kerastransfer.errors import UserError

SIDE = 56
BLANK = np.array([7, 8, 9], np.uint8)


def photos(images=3, side=SIDE, seed=0):
    return np.random.default_rng(seed).integers(100, 256, (images, side, side, 3), np.uint8)


def hidden(batch, image):
    """Which pixels of copies are not those of the image."""
    return (batch != image).any(axis=-1)


def test_a_square_of_60_pixels_hides_as_many():
    (image,) = photos(1, 224)
    rows, columns = np.array([0, 30, 112, 223]), np.array([40, 223])
    ((batch, count),) = copies(image[None], rows, columns, 60, BLANK, 9)
    assert count == 9 and not hidden(batch[0], image).any()
    for copy, (y, x) in zip(batch[1:], [(y, x) for y in rows for x in columns], strict=True):
        mask = hidden(copy, image)
        # A side of 60 has 30 pixels before its centre and 29 behind.
        tall, wide = (min(centre + 30, 224) - max(centre - 30, 0) for centre in (y, x))
        assert mask.sum() == tall * wide
        assert mask[max(y - 30, 0) : y + 30, max(x - 30, 0) : x + 30].all()
        np.testing.assert_array_equal(copy[mask], np.broadcast_to(BLANK, (mask.sum(), 3)))
    assert hidden(batch[5], image).sum() == 60 * 60


@pytest.mark.parametrize("side", [1, 2, 5, 60])
def test_windows_are_cut_at_the_borders(side):
    inner = window(100, side, 224)
    assert inner.stop - inner.start == side and inner.start <= 100 < inner.stop
    assert window(0, side, 224) == slice(0, max(1, side - side // 2))
    assert window(223, side, 224).stop == 224


def test_places_reach_both_borders():
    assert places(20, 8).tolist() == [0, 8, 16, 19] and places(17, 8).tolist() == [0, 8, 16]
    assert len(places(224, 8)) == 29 and places(3, 8).tolist() == [0, 2]


def test_batches_all_have_one_size():
    """Or a compiled encoder would be traced again; all copies of all images come in order."""
    images, rows = photos(2, 16), np.array([0, 8])
    seen = [(batch.copy(), count) for batch, count in copies(images, rows, rows, 4, BLANK, 4)]
    assert [len(batch) for batch, _ in seen] == [4, 4, 4] and [count for _, count in seen] == [4, 4, 2]
    flat = np.concatenate([batch[:count] for batch, count in seen])
    ((whole, _),) = copies(images, rows, rows, 4, BLANK, 10)
    np.testing.assert_array_equal(flat, whole)


def corner(batch, of):
    """A classifier that looks at the upper left corner alone."""
    return 0.05 + 0.9 * (batch[:, :10, :10].mean(axis=(1, 2, 3)) > 90)


def test_a_classifier_of_one_corner_changes_only_there():
    """With a square of 15 pixels, its probability changes while the centre is within 7 pixels of the corner's 10."""
    settings = Settings(stride=4, batch_size=16)
    found = maps(photos(), corner, settings, np.zeros(3, np.uint8))
    assert found.ratios.shape == (3, SIDE, SIDE)
    np.testing.assert_allclose(found.clean, 0.95)
    assert (found.ratios[:, 20:] == 1).all() and (found.ratios[:, :, 20:] == 1).all()
    np.testing.assert_allclose(found.ratios[:, 4, 4], 0.05 / 0.95, rtol=1e-6)
    assert (found.least < 0.06).all() and (found.hurt > 0).all() and (found.hurt < 0.1).all()
    assert ((found.mean > 0.85) & (found.mean < 1)).all()


def test_at_every_pixel_the_map_is_the_definition():
    """A stride of one pixel: every map is that of a loop over all centres."""
    images = photos(1, 12)
    settings = Settings(size=0.25, stride=224 // 12, batch_size=7)

    def score(batch, of):
        return batch[:, 5, 6, 0] / 300 + batch[:, 2, 9, 1] / 1000

    found = maps(images, score, settings, BLANK)
    for y in range(12):
        for x in range(12):
            copy = images.copy()
            copy[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = BLANK
            wanted = score(copy, None) / score(images, None)
            assert found.ratios[0, y, x] == pytest.approx(wanted[0], rel=1e-5)


def test_probabilities_are_those_of_the_own_image():
    """Batches hold copies of two images; `of` says which. The last one is filled up."""
    images, seen = photos(3, 16), []

    def score(batch, of):
        seen.extend(zip(of, batch[:, -1, -1].copy(), strict=True))
        return np.array([0.2, 0.5, 0.9])[of]

    found = maps(images, score, Settings(size=0.1, stride=112, batch_size=8), BLANK)
    np.testing.assert_allclose(found.clean, [0.2, 0.5, 0.9])
    np.testing.assert_allclose(found.ratios, 1)
    counted = seen[: 3 * (1 + found.masked[0].size)]
    assert len(counted) < len(seen)
    assert all((pixel == images[of][-1, -1]).all() or (pixel == BLANK).all() for of, pixel in counted)


# The study


def material(images=60, classes=2, seed=0, **changes):
    """Images whose class is the colour of their upper left quarter, and partly of the whole. The detector averages the
    whole image, and the classifier the quarter alone."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    pixels = random.integers(90, 110, (images, SIDE, SIDE, 3))
    pixels[np.arange(images), :, :, labels] += 60
    pixels = pixels.astype("uint8")
    encoders = {
        "detector": lambda batch: np.asarray(batch, "float32").mean(axis=(1, 2)),
        "classifier": lambda batch: np.asarray(batch[:, :16, :16], "float32").mean(axis=(1, 2)),
    }
    given = {
        "names": [f"{i:04d}" for i in range(images)],
        "images": pixels,
        "maps": {},
        "pooled": {name: encode(pixels) for name, encode in encoders.items()},
        "heads": {"detector": {}, "classifier": {}},
        "encoders": encoders,
        "labels": labels.astype("int32"),
        "classes": ["red", "green", "blue"],
        "train": np.arange(images) % 3 > 0,
        "boxes": None,
        "mean": np.full(3, 100.0),
    }
    return Features(**{**given, **changes})


def test_the_study_finds_the_robust_model():
    findings = mask_out.study(Settings(images=5, stride=16), material())
    (claim,) = findings.claims
    assert claim.measured == "mean ratio, detector minus classifier" and claim.held
    numbers = findings.numbers
    assert numbers["detector"]["images"] == 5
    assert numbers["detector"]["mean ratio"] > numbers["classifier"]["mean ratio"]
    assert numbers["detector"]["smallest ratio"] > numbers["classifier"]["smallest ratio"]
    difference = numbers["detector"]["mean ratio"] - numbers["classifier"]["mean ratio"]
    assert claim.difference.value == pytest.approx(difference)
    assert "5 test images, drawn from the 20 of 20" in findings.text[0] and "15 x 15" in findings.text[0]
    ((name, figure, picture),) = findings.figures
    assert name == "mask_out" and not figure.chart and picture.width > 900


def test_the_study_repeats_and_the_seed_chooses():
    settings = Settings(images=3, stride=56)
    found = mask_out.study(settings, material()).numbers
    assert mask_out.study(settings, material()).numbers == found
    assert mask_out.study(Settings(images=3, stride=56, seed=1), material()).numbers != found


def test_the_blank_colour_counts():
    found = {
        blank: mask_out.study(Settings(images=2, stride=56, blank=blank), material()).numbers["classifier"]
        for blank in ("mean", "grey", "black")
    }
    assert len({numbers["mean ratio"] for numbers in found.values()}) == 3


def test_fewer_images_than_wanted_are_said():
    findings = mask_out.study(Settings(images=50, stride=112), material())
    assert findings.numbers["detector"]["images"] == 20 and "50 images were wanted" in findings.text[1]


def test_no_image_is_classified_correctly():
    given = material()
    wrong = np.where(given.train, given.labels, 1 - given.labels).astype("int32")
    with pytest.raises(LeftOut, match="none of the 20 test images is classified correctly by both"):
        mask_out.study(Settings(), material(labels=wrong))


def test_images_without_labels():
    with pytest.raises(LeftOut, match="no labels"):
        mask_out.study(Settings(), material(labels=None))


def test_features_that_are_not_finite_are_named():
    pooled = material().pooled
    damaged = {**pooled, "classifier": np.full_like(pooled["classifier"], np.nan)}
    with pytest.raises(UserError, match="the features of classifier are not finite"):
        mask_out.study(Settings(), material(pooled=damaged))
    encoders = {**material().encoders, "detector": lambda batch: np.full((len(batch), 3), np.inf)}
    with pytest.raises(UserError, match="the features of detector are not finite for a masked image"):
        mask_out.study(Settings(images=1), material(encoders=encoders))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"size": 0.0}, "size is 0.0"),
        ({"size": 1.5}, "size is 1.5"),
        ({"stride": 0}, "--mask-out.stride is 0"),
        ({"images": 0}, "--mask-out.images is 0"),
        ({"batch_size": -1}, "--mask-out.batch-size is -1"),
    ],
)
def test_settings_that_cannot_work(flags, words):
    with pytest.raises(UserError, match=words):
        Settings(**flags)

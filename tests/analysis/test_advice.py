"""Advice on encoders: its order, what it says without masks, and what it refuses."""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from kerastransfer.analysis import advice as advices
from kerastransfer.analysis.advice import advise, sizes_of_subsets
from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.errors import UserError

SIDE = 16


def read(seed):
    random = np.random.default_rng(seed)
    segmentation = np.zeros((SIDE, SIDE), np.uint8)
    top, left = random.integers(0, 8, 2)
    segmentation[top : top + 8, left : left + 8] = 1
    # Brighter things on a dark ground, under noise.
    image = np.clip(60 + 90 * segmentation[..., None] + 25 * random.normal(size=(SIDE, SIDE, 3)), 0, 255)
    return {"image": image.astype(np.uint8), "segmentation": segmentation}


def photos(masks, others=0):
    samples = [
        Sample(f"{number:02}", functools.partial(read, number), frozenset({"segmentation"} if number < masks else ()))
        for number in range(masks + others)
    ]
    return Dataset("drawn", tuple(samples), segmentation_classes=("background", "thing"))


def encoder(blur, filters=3, seed=0):
    """An encoder that sees brightness, blurred over so many pixels."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(filters, 1, name="mix")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, {"c1": keras.layers.AveragePooling2D(blur)(x)}, name="encoder")


@pytest.fixture(scope="module")
def encoders():
    """Sharp, blurred, and the sharp one under another name."""
    made = {"blurred": encoder(8), "sharp": encoder(1), "again": encoder(1)}
    return {name: functools.partial(dict.__getitem__, made, name) for name in made}


@pytest.fixture(scope="module")
def found(encoders):
    return advise(encoders, photos(16, 10), image_size=SIDE, target=0.5, photos=4)


def test_encoders_are_ordered_by_their_probe(found):
    assert [one.name for one in found.encoders][-1] == "blurred"
    assert found.encoders[0].auc > found.encoders[-1].auc
    assert found.encoders[0].dice > found.encoders[-1].dice + 0.05
    assert found.encoders[0].logme > found.encoders[-1].logme
    assert found.masks == 16
    assert all(one.milliseconds > 0 and one.parameters == 12 for one in found.encoders)


def test_the_difference_and_its_interval_are_paired(found):
    mean, low, high = found.ahead["blurred"]
    assert mean == pytest.approx(found.encoders[0].auc - found.encoders[-1].auc)
    assert 0 < low < mean < high
    same = next(name for name in found.ahead if name != "blurred")
    assert found.ahead[same] == (0, 0, 0)


def test_equal_encoders_are_alike(found):
    assert found.alike["sharp", "again"] == pytest.approx(1, abs=1e-6)
    assert found.alike["sharp", "blurred"] == found.alike["blurred", "sharp"] < 0.9


def test_masks_are_foretold(found):
    assert found.curve.dice.shape == (advices.PASSES * advices.PARTS, len(found.curve.sizes))
    assert found.curve.needed == found.curve.law.needed(0.5)


def test_photos_without_a_mask_are_chosen(found):
    assert len(set(found.photos)) == 4 and set(found.photos) <= {f"{number:02}" for number in range(16, 26)}
    assert found.doubted


def test_without_masks_cost_likeness_and_photos_are_told(encoders):
    found = advise(encoders, photos(0, 8), image_size=SIDE, photos=3)
    assert [one.name for one in found.encoders] == list(encoders)
    assert found.masks == 0 and not found.doubted and not found.ahead
    assert np.isnan([(one.dice, one.auc) for one in found.encoders]).all()
    assert found.alike["sharp", "again"] == pytest.approx(1, abs=1e-6)
    assert len(set(found.photos)) == 3


def test_at_most_so_many_masks_are_used(encoders):
    few = advise({"sharp": encoders["sharp"]}, photos(16), image_size=SIDE, masks=6)
    assert few.masks == 6 == len(few.encoders[0].probed.dice)
    assert few.ahead == {}


@pytest.mark.parametrize("most", [3, 9, 48, 300])
def test_subsets_grow_from_two_to_the_most(most):
    sizes = sizes_of_subsets(most)
    assert sizes[0] == 2 and sizes[-1] == most and sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (photos(3), {}, "masks for 3 photos; advice needs 5"),
        (photos(16), {"photos": 1}, "--next 1: drawn has 0 photos without a mask"),
        (photos(16, 2), {"photos": 3}, "has 2 photos without a mask"),
        (photos(16), {"target": 1.0}, r"outside \(0, 1\)"),
        (photos(16), {"target": 0.0}, r"outside \(0, 1\)"),
        (photos(15), {"target": 0.9}, "needs masks of 16 photos"),
        (photos(0, 9), {"target": 0.9}, "has none"),
        (photos(16), {"masks": 15, "target": 0.9}, "--masks"),
        (photos(16), {"masks": 4}, "--masks"),
    ],
)
def test_what_cannot_be_advised_on_is_refused(encoders, dataset, options, message):
    with pytest.raises(UserError, match=message):
        advise(encoders, dataset, image_size=SIDE, **options)


def test_an_image_size_that_an_encoder_cannot_read_is_refused(encoders):
    with pytest.raises(UserError, match="not a multiple of 8"):
        advise(encoders, photos(8), image_size=12)
    image = keras.Input((32, 32, 3))
    fixed = keras.Model(image, {"c1": keras.layers.AveragePooling2D(2)(image)}, name="encoder")
    with pytest.raises(UserError, match="give --image-size 32"):
        advise({"fixed": lambda: fixed}, photos(8), image_size=SIDE)


def test_a_class_that_only_some_photos_have(encoders):
    dataset = dataclasses.replace(photos(8), segmentation_classes=("background", "thing", "never"))
    assert advise({"sharp": encoders["sharp"]}, dataset, image_size=SIDE).encoders[0].dice > 0.5

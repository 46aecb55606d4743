"""SimCLR's colours: each change against TensorFlow's own, image by image; how often; the same for the same seed."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from kerastransfer.data import recolour
from kerastransfer.data.recolour import simclr_colours


def images(count=6, size=40):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype("float32")


def test_contrast_saturation_and_hue_as_tensorflow_has_them():
    given = images() / 255
    factor, turn = np.array([0.2, 0.7, 1.0, 1.3, 1.8, 0.0], "float32"), np.linspace(-0.2, 0.2, 6, dtype="float32")
    wide = factor[:, None, None, None]
    for found, theirs in (
        (recolour._contrast(given, wide), [tf.image.adjust_contrast(x, f) for x, f in zip(given, factor, strict=True)]),
        (
            recolour._saturated(given, factor, 0 * turn),
            [tf.image.adjust_saturation(x, f) for x, f in zip(given, factor, strict=True)],
        ),
        (
            recolour._saturated(given, factor * 0 + 1, turn),
            [tf.image.adjust_hue(x, f) for x, f in zip(given, turn, strict=True)],
        ),
    ):
        np.testing.assert_allclose(found, np.stack(theirs), atol=2e-5)


def test_blur_is_gaussian_and_reaches_a_tenth_of_the_image(monkeypatch):
    monkeypatch.setattr(recolour, "SIGMAS", (1.5, 1.5))
    given = images(2) / 255
    found = recolour._blurred(given, tf.constant([True, False]), tf.constant([3, 4]), (0, 1))
    wanted = ndimage.gaussian_filter(given[0], (1.5, 1.5, 0), mode="constant", radius=(2, 2, 0))
    weight = ndimage.gaussian_filter(np.ones_like(given[0]), (1.5, 1.5, 0), mode="constant", radius=(2, 2, 0))
    np.testing.assert_allclose(found[0], wanted / weight, atol=1e-5)
    np.testing.assert_allclose(found[1], given[1], atol=1e-6)


def test_images_change_as_often_as_published():
    given = np.broadcast_to(np.array([200, 90, 30], "float32"), (2000, 4, 4, 3))
    found = np.asarray(simclr_colours(1.0)(tf.constant(given), tf.constant([0, 5])))
    assert found.min() >= 0 and found.max() <= 255
    grey = np.ptp(found, axis=-1).max(axis=(1, 2)) < 0.01
    kept = np.isclose(found, given, atol=0.01).all(axis=(1, 2, 3))
    assert grey.mean() == pytest.approx(0.2, abs=0.05)
    assert kept.mean() == pytest.approx(0.2 * 0.8, abs=0.03)


def test_the_same_for_the_same_seed_and_in_shares():
    given, change = tf.constant(images(4)), simclr_colours(1.0)
    whole = change(given, tf.constant([7, 1]))
    np.testing.assert_array_equal(whole, change(given, tf.constant([7, 1])))
    assert not np.array_equal(whole, change(given, tf.constant([7, 2])))
    parts = [change(given[2 * part : 2 * part + 2], tf.constant([7, 1]), (part, 2)) for part in (0, 1)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-3)


def test_no_strength_keeps_colours():
    given = images(400, 4)
    found = np.asarray(simclr_colours(1e-6)(tf.constant(given), tf.constant([0, 5])))
    kept = np.isclose(found, given, atol=0.05).all(axis=(1, 2, 3))
    assert kept.mean() == pytest.approx(0.8, abs=0.06)

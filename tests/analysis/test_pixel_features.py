"""Features of single pixels: interpolated between the positions of taps, and linear functions of them."""

import keras
import numpy as np
import pytest

from kerastransfer.analysis.pixel_features import PixelFeatures, extracted
from kerastransfer.data.resize import resize_scores


@pytest.fixture(scope="module")
def features():
    random = np.random.default_rng(0)
    shapes = {"c1": (3, 8, 8, 4), "c2": (3, 4, 4, 6), "c3": (3, 1, 1, 2)}
    maps = {name: random.normal(size=shape).astype("float16") for name, shape in shapes.items()}
    return PixelFeatures(maps, (16, 16))


def test_a_linear_function_is_that_of_the_features_of_each_pixel(features):
    random = np.random.default_rng(1)
    weights, bias = random.normal(size=(12, 3)), random.normal(size=3)
    rows, columns = (axis.ravel() for axis in np.mgrid[:16, :16])
    wanted = features.at(1, rows, columns) @ weights + bias
    assert features.linear(1, weights, bias).reshape(-1, 3) == pytest.approx(wanted, abs=1e-4)
    assert features.channels == 12 and len(features) == 3


def test_features_are_interpolated_as_pillow_does(features):
    rows, columns = (axis.ravel() for axis in np.mgrid[:16, :16])
    found = features.at(0, rows, columns)[:, 0].reshape(16, 16)
    assert found == pytest.approx(resize_scores(features.maps["c1"][0, ..., 0].astype("float32"), (16, 16)), abs=1e-5)


def test_pooled_features_are_means(features):
    assert features.pooled().shape == (3, 12)
    assert features.pooled()[2, :4] == pytest.approx(features.maps["c1"][2].mean((0, 1)), abs=2e-3)


def strided():
    """Taps of strides 2 and 8, which hold the means of their pixels."""
    image = keras.Input((None, None, 3))
    c1 = keras.layers.AveragePooling2D(2)(image)
    return keras.Model(image, {"c1": c1, "c2": keras.layers.AveragePooling2D(4)(c1)}, name="encoder")


def test_the_taps_of_all_images_are_collected():
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), np.uint8)
    found = extracted(strided(), images, batch_size=2)
    assert {name: maps.shape for name, maps in found.maps.items()} == {"c1": (5, 4, 6, 3), "c2": (5, 2, 3, 3)}
    wanted = images.reshape(5, 4, 4, 6, 4, 3).astype("float32").mean((2, 4))
    assert found.maps["c1"] == pytest.approx(wanted, rel=1e-3)
    assert found.size == (16, 24)


def test_features_too_large_for_half_precision_are_cut():
    image = keras.Input((None, None, 3))
    encoder = keras.Model(image, {"c1": keras.layers.Rescaling(1e6)(image)}, name="encoder")
    found = extracted(encoder, np.full((1, 8, 8, 3), 255, np.uint8))
    assert np.isfinite(found.maps["c1"]).all()

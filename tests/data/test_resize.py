"""Images and maps at another size."""

import numpy as np
from PIL import Image

from kerastransfer.data.resize import resize_image, resize_map
from kerastransfer.vocabulary import VOID


def test_resizing_an_image():
    image = np.random.default_rng(0).integers(0, 256, (8, 6, 3)).astype("uint8")
    assert resize_image(image, (8, 6)) is image
    constant = np.full((9, 7, 3), 93, "uint8")
    np.testing.assert_array_equal(resize_image(constant, (4, 11)), np.full((4, 11, 3), 93))
    stripes = np.tile(np.array([0, 255], "uint8")[:, None, None], (32, 16, 3))
    assert np.abs(resize_image(stripes, (16, 16)).astype(int) - 127).max() <= 20  # antialiased: grey, not one of them
    wide = resize_image(image, (16, 12))
    np.testing.assert_array_equal(wide, np.asarray(Image.fromarray(image).resize((12, 16), Image.Resampling.BILINEAR)))


def test_resizing_a_map_makes_no_new_classes():
    values = np.array([[0, 1], [7, VOID]], "uint8")
    np.testing.assert_array_equal(resize_map(values, (4, 6)), np.repeat(np.repeat(values, 2, 0), 3, 1))
    np.testing.assert_array_equal(resize_map(resize_map(values, (4, 6)), (2, 2)), values)

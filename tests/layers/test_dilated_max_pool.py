"""The dilated pool against a loop, and against Keras's own where that exists."""

import keras
import numpy as np
import pytest

from kerastransfer.layers.dilated_max_pool import DilatedMaxPool


def looped(x, dilation):
    padded = np.pad(x, ((0, 0), (0, dilation), (0, dilation), (0, 0)), constant_values=-np.inf)
    out = np.empty_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            ends = [padded[:, row + down, column + right] for down in (0, dilation) for right in (0, dilation)]
            out[:, row, column] = np.max(ends, axis=0)
    return out


@pytest.mark.parametrize("dilation", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [(7, 6), (2, 9), (1, 1)])
def test_equals_a_loop(dilation, size):
    """Also on maps smaller than the dilation, and where all is negative: padding never wins."""
    x = np.random.default_rng(0).normal(-3, 1, (2, *size, 3)).astype("float32")
    np.testing.assert_array_equal(DilatedMaxPool(dilation)(x), looped(x, dilation))


def test_every_second_pixel_is_the_strided_pool():
    x = np.random.default_rng(1).normal(0, 1, (1, 8, 6, 2)).astype("float32")
    np.testing.assert_array_equal(DilatedMaxPool(1)(x)[:, ::2, ::2], keras.layers.MaxPooling2D(2)(x))


@pytest.mark.parametrize("dilation", [1, 2, 5])
def test_three_by_three_without_padding(dilation):
    """Every pixel where the window is whole: -inf beyond the sides shows where it is not."""
    x = np.random.default_rng(2).normal(0, 1, (1, 14, 13, 2)).astype("float32")
    layer, far = DilatedMaxPool(dilation, 3, whole=True), 2 * dilation
    got = np.array(layer(x))
    assert got.shape == layer.compute_output_shape(x.shape) == (1, 14 - far, 13 - far, 2)
    starts = range(0, far + 1, dilation)
    shifts = [x[:, row : row + 14 - far, column : column + 13 - far] for row in starts for column in starts]
    np.testing.assert_array_equal(got, np.max(shifts, axis=0))
    loose = np.array(DilatedMaxPool(dilation, 3)(x))
    np.testing.assert_array_equal(loose[:, : 14 - far, : 13 - far], got)
    assert loose.shape == x.shape


def test_it_is_saved_with_a_model(tmp_path):
    image = keras.Input((None, None, 1))
    model = keras.Model(image, DilatedMaxPool(2, name="pool")(image))
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").get_layer("pool").dilation == 2

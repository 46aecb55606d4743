"""The locally connected layer against plain loops, and against the convolution it becomes when all places agree."""

import keras
import numpy as np
import pytest

from kerastransfer.layers.locally_connected import LocallyConnected


def inputs(height=4, width=3, channels=2):
    return np.random.default_rng(0).normal(size=(2, height, width, channels)).astype("float32")


def built(x, filters=3, kernel=3):
    layer = LocallyConnected(filters, kernel)
    layer.build(x.shape)
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    return layer


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_equals_plain_loops(kernel):
    x = inputs()
    layer = built(x, kernel=kernel)
    weights, bias = layer.get_weights()
    padded = np.pad(x, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2, (0, 0)))
    found = np.array(layer(x))
    assert found.shape == layer.compute_output_shape(x.shape) == (2, 4, 3, 3)
    for row in range(4):
        for column in range(3):
            place = row * 3 + column
            window = padded[:, row : row + kernel, column : column + kernel].reshape(2, -1)  # [ky, kx, channel]
            np.testing.assert_allclose(found[:, row, column], window @ weights[place] + bias[place], atol=1e-5)


def test_equal_weights_at_all_places_make_a_convolution():
    x = inputs(5, 6)
    conv = keras.layers.Conv2D(4, 3, padding="same")
    conv.build(x.shape)
    kernel, bias = conv.get_weights()
    layer = LocallyConnected(4, 3)
    layer.build(x.shape)
    layer.set_weights([np.tile(kernel.reshape(1, -1, 4), (30, 1, 1)), np.tile(bias, (30, 1))])
    np.testing.assert_allclose(layer(x), conv(x), atol=1e-5)


def test_size_must_be_known():
    with pytest.raises(ValueError, match="fixed size"):
        LocallyConnected(4).build((None, None, 7, 3))


def test_stored_with_a_model(tmp_path):
    x = inputs()
    image = keras.Input(x.shape[1:])
    model = keras.Model(image, LocallyConnected(3, 5)(image))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))

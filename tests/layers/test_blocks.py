"""Darknet's convolution against plain loops in numpy."""

import keras
import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.layers import blocks


def convolution(x, kernel, stride):
    """(H, W, D) with kernel // 2 zeros on every side; the output counts from the first full window."""
    size = len(kernel)
    x = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    rows, columns = ((side - size) // stride + 1 for side in x.shape[:2])
    out = np.zeros((rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            out[i, j] = np.tensordot(window, kernel, 3)
    return out


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (7, 2), (1, 2)])
def test_conv_bn_pads_as_darknet(kernel, stride, size):
    image = keras.Input((None, None, 2))
    model = keras.Model(image, blocks.conv_bn(image, 3, kernel, stride, name="c"))
    conv, bn = model.get_layer("c_conv"), model.get_layer("c_bn")
    random = np.random.default_rng(0)
    conv.set_weights([random.normal(size=(kernel, kernel, 2, 3))])
    gamma, beta, mean, variance = (random.uniform(0.5, 1.5, 3) for _ in range(4))
    bn.set_weights([gamma, beta, mean, variance])
    x = random.normal(size=(1, *size, 2)).astype("float32")
    wanted = gamma * (convolution(x[0], conv.get_weights()[0], stride) - mean) / np.sqrt(variance + 1e-5) + beta
    wanted = np.where(wanted > 0, wanted, 0.1 * wanted)
    found = model(x)[0]
    assert found.shape == (-(-size[0] // stride), -(-size[1] // stride), 3)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_conv_bn_has_no_bias():
    image = keras.Input((None, None, 2))
    model = keras.Model(image, blocks.conv_bn(image, 3, 3, name="c"))
    assert [w.path for w in model.trainable_weights] == ["c_conv/kernel", "c_bn/gamma", "c_bn/beta"]


def test_up_doubles_without_overlap():
    """Each pixel becomes 2 x 2 of its own; plain ReLU."""
    features = keras.Input((None, None, 2))
    model = keras.Model(features, blocks.up(features, 3, name="up"))
    random = np.random.default_rng(1)
    kernel, bias = random.normal(size=(2, 2, 3, 2)), random.normal(size=3)
    model.get_layer("up_conv").set_weights([kernel, bias])
    x = random.normal(size=(1, 3, 5, 2)).astype("float32")
    wanted = np.einsum("hwd,ijfd->hiwjf", x[0], kernel).reshape(6, 10, 3) + bias
    np.testing.assert_allclose(model(x)[0], np.maximum(wanted / np.sqrt(1 + 1e-5), 0), atol=1e-5)


@pytest.mark.parametrize(("activation", "wanted"), [("leaky", [-0.2, 1, 9]), ("relu", [0, 1, 9]), ("relu6", [0, 1, 6])])
def test_activations_by_name(activation, wanted):
    image = keras.Input((3,))
    model = keras.Model(image, blocks.activate(image, activation, "one"))
    np.testing.assert_allclose(model(np.array([[-2.0, 1, 9]], "float32"))[0], wanted, rtol=1e-6)
    assert model.layers[-1].name == f"one_{activation}"


def test_an_unknown_activation():
    with pytest.raises(UserError, match="unknown activation 'silu'; choose leaky, relu, relu6"):
        blocks.activate(keras.Input((3,)), "silu", "one")

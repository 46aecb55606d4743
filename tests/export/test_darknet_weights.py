"""Darknet's .weights files, to the byte."""

import math
import struct

import keras
import numpy as np
import pytest
from darknet_reference import OWN, native, randomised

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import YOLOV1, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.export import darknet_weights
from kerastransfer.export.darknet_weights import Header
from kerastransfer.models.darknet_nets import yolov3_cfg
from kerastransfer.models.yolov1 import yolov1
from kerastransfer.models.yolov3 import yolov3


def values(model):
    return [np.array(variable) for variable in model.weights if "seed_generator" not in variable.path]


def assert_equal(one, other):
    for first, second in zip(values(one), values(other), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def tiny():
    """yolov3-tiny as it is published, with drawn weights."""
    return randomised(yolov3(yolov3_cfg("yolov3-tiny")))


@pytest.fixture(scope="module")
def own():
    return randomised(yolov3(OWN))


def test_published_size_and_round_trip(tiny, tmp_path):
    path = tmp_path / "tiny.weights"
    darknet_weights.write(tiny, path, header=Header(seen=32013312))
    assert path.stat().st_size == 35_434_956
    again = yolov3(yolov3_cfg("yolov3-tiny"))
    told = darknet_weights.read(path, again)
    assert_equal(tiny, again)
    assert told["header"] == Header(0, 2, 0, 32013312) and not told["fresh"]
    assert told["copied"] == [f"conv_{index}" for index in (0, 2, 4, 6, 8, 10, 12, 13, 14, 15, 18, 21, 22)]


def test_order_of_a_file(own, tmp_path):
    """The first layer has batch norm: offsets, scales, means, variances, then [out][in][row][column]."""
    darknet_weights.write(own, tmp_path / "own.weights")
    raw = (tmp_path / "own.weights").read_bytes()
    assert struct.unpack("<iiiQ", raw[:20]) == (0, 2, 0, 0)
    numbers = np.frombuffer(raw[20:], "<f4")
    encoder = own.get_layer("encoder")
    norm, kernel = encoder.get_layer("conv_0_bn"), np.array(encoder.get_layer("conv_0").kernel)
    for place, variable in enumerate((norm.beta, norm.gamma, norm.moving_mean, norm.moving_variance)):
        np.testing.assert_array_equal(numbers[8 * place : 8 * place + 8], variable)
    assert numbers[32 + ((5 * 3 + 1) * 3 + 0) * 3 + 2] == kernel[0, 2, 1, 5]
    after = 32 + kernel.size
    np.testing.assert_array_equal(numbers[after : after + 8], encoder.get_layer("conv_2").bias)


@pytest.mark.parametrize(
    ("header", "size", "transposed"),
    [
        (Header(0, 1, 0, 5), 16, False),
        (Header(0, 2, 0, 2**40), 20, False),
        (Header(1, 0), 20, False),
        (Header(1001, 0), 16, True),
        (Header(0, 1001), 16, True),
    ],
)
def test_headers(header, size, transposed, tmp_path):
    model = randomised(native())
    path = tmp_path / "native.weights"
    darknet_weights.write(model, path, header=header)
    assert path.stat().st_size == size + 4 * sum(value.size for value in values(model))
    again = native()
    assert darknet_weights.read(path, again)["header"] == header
    assert_equal(model, again)
    kernel = np.array(model.get_layer("head").get_layer("predictions").kernel)
    last = np.frombuffer(path.read_bytes()[-4 * kernel.size :], "<f4")
    turned = kernel.reshape(2, 2, 3, -1)  # [row][column][channel][out]; Darknet's map is [channel][row][column]
    axes = (2, 0, 1, 3) if transposed else (3, 2, 0, 1)
    np.testing.assert_array_equal(last, turned.transpose(axes).ravel())


def test_locally_connected_order(tmp_path):
    """Offsets filter by filter, then for each place its filters, [channel][row][column] each."""
    model = randomised(native())
    path = tmp_path / "native.weights"
    darknet_weights.write(model, path)
    local = model.get_layer("head").get_layer("local")
    trunk = sum(value.size for value in values(model.get_layer("encoder")))
    numbers = np.frombuffer(path.read_bytes()[20 + 4 * trunk :], "<f4")
    bias, kernel = np.array(local.bias), np.array(local.kernel_weights)
    np.testing.assert_array_equal(numbers[:12].reshape(3, 4), bias.T)
    place, channel, row, column, filters = 2, 5, 1, 2, 1
    at = 12 + ((place * 3 + filters) * 8 + channel) * 9 + row * 3 + column
    assert numbers[at] == kernel[place, (row * 3 + column) * 8 + channel, filters]


def test_floats_of_yolov1():
    """The published file, of version 0.1, has 789,312,988 bytes. Built without values, which would take 0.8 GB."""
    with keras.StatelessScope(initialize_variables=False):
        codec = YoloV1Codec(20, 3, layout="darknet", score="product", sizes="root")
        net = yolov1(yolov1_encoder(YOLOV1), codec, head="darknet_local", grid=7)
    places = [place for _, _, found in darknet_weights._order(net, Header()) for place in found]
    assert struct.calcsize(Header(0, 1).layout) + 4 * sum(math.prod(place.shape) for place in places) == 789_312_988
    narrow = {name: places for _, name, places in darknet_weights._order(native(), Header())}
    assert [place.shape for place in narrow["local"]] == [(3, 4), (4, 3, 8, 3, 3)]
    assert [place.shape for place in narrow["predictions"]] == [(48,), (48, 3, 2, 2)]


def test_trunks(own, tmp_path):
    whole, trunk = tmp_path / "whole.weights", tmp_path / "trunk.weights"
    darknet_weights.write(own, whole)
    darknet_weights.write(own, trunk, layers=3)
    assert trunk.read_bytes() == whole.read_bytes()[: trunk.stat().st_size]
    for path in (whole, trunk):
        again = yolov3(OWN)
        before = values(again)
        told = darknet_weights.read(path, again, layers=3)
        assert told["copied"] == ["conv_0", "conv_2"] and told["fresh"] == ["conv_3", "conv_7", "conv_12", "conv_13"]
        own_values = {variable.path: np.array(variable) for variable in own.weights}
        for variable, old in zip(again.weights, before, strict=True):
            copied = variable.path.startswith(("conv_0", "conv_2"))
            np.testing.assert_array_equal(variable, own_values[variable.path] if copied else old)
    encoder = yolov3(OWN).get_layer("encoder")
    with pytest.raises(UserError, match="goes on after the last layer"):
        darknet_weights.read(whole, encoder)
    darknet_weights.read(whole, encoder, layers=5)
    assert_equal(encoder, own.get_layer("encoder"))


def test_what_is_refused_changes_nothing(own, tmp_path):
    path = tmp_path / "own.weights"
    darknet_weights.write(own, path)
    raw = path.read_bytes()
    first = 20 + 4 * (32 + 8 * 27)
    model = yolov3(OWN)
    before = values(model)
    broken = {
        "longer": (raw + b"\0" * 8, f"goes on after the last layer conv_13, at byte {len(raw)}, with 8 bytes"),
        "shorter": (raw[:-4], "ends inside layer conv_13, which begins at byte"),
        "a layer": (
            raw[:first],
            rf"ends inside layer conv_2, which begins at byte {first} and needs 6432, but 0 remain",
        ),
        "cut": (raw[:-1], "not a header of 20 and whole float32"),
        "nothing": (b"", "fewer than a header"),
        "header": (raw[:20], "ends inside layer conv_0"),
        "shifted": (raw[:20] + raw[24:] + b"\0\0\0\0", "a variance of layer conv_0 at byte 116 is below zero"),
        "nan": (raw[:24] + b"\xff" * 4 + raw[28:], "conv_0 at byte 20 are not finite"),
    }
    for name, (content, message) in broken.items():
        if name == "shifted":  # the first weight takes the last variance's place
            content = content[: 20 + 4 * 31] + np.float32(-0.1).tobytes() + content[20 + 4 * 32 :]
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            darknet_weights.read(path, model)
    with pytest.raises(UserError, match="cannot be read"):
        darknet_weights.read(tmp_path / "none.weights", model)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_models_without_a_place_are_refused(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2DTranspose(2, 2, name="up")(keras.layers.Conv2D(2, 1, name="predictions")(image))
    with pytest.raises(UserError, match="layer 'up' has weights that Darknet files cannot hold"):
        darknet_weights.write(keras.Model(image, x), tmp_path / "x.weights")
    bare = keras.Model(image, keras.layers.Conv2D(2, 1, use_bias=False, name="bare_conv")(image))
    with pytest.raises(UserError, match="'bare_conv' has neither a bias nor a batch norm"):
        darknet_weights.write(bare, tmp_path / "x.weights")
    with pytest.raises(UserError, match="has no convolution"):
        darknet_weights.write(keras.Model(image, keras.layers.Flatten()(image), name="flat"), tmp_path / "x.weights")
    assert not list(tmp_path.iterdir())

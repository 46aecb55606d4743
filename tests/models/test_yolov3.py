"""The nets of cfg texts: their parts, their taps, their first predictions."""

import keras
import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.models.darknet_nets import yolov3_cfg
from kerastransfer.models.yolov3 import yolov3

# {name: (sections of the trunk, {level: the last convolution before the head})} in Darknet's cfg files.
TAPS = {
    "yolov3": (75, {"p3": 103, "p4": 91, "p5": 79}),
    "yolov3-spp": (75, {"p3": 110, "p4": 98, "p5": 86}),
    "yolov3-tiny": (13, {"p4": 21, "p5": 13}),
    "yolov3-small": (29, {"p3": 51, "p4": 41, "p5": 31}),
}
CONVOLUTIONS = {"yolov3": 75, "yolov3-spp": 76, "yolov3-tiny": 13, "yolov3-small": 38}


@pytest.fixture(scope="module")
def narrow():
    """{name: net} of 8 to 32 filters, three classes."""
    return {name: yolov3(yolov3_cfg(name, width=0.03, num_classes=3)) for name in TAPS}


def indices(part):
    return sorted(int(layer.name.split("_")[1]) for layer in part.layers if isinstance(layer, keras.layers.Conv2D))


def numbers_of(part):
    return {output: tensor._keras_history.operation.name for output, tensor in part.output.items()}


def test_floats_of_the_published_file():
    """Parameters and moving statistics; the larger nets' are counted in test_darknet_cfg."""
    assert yolov3(yolov3_cfg("yolov3-tiny")).count_params() == 8_858_734


@pytest.mark.parametrize("name", TAPS)
def test_parts(narrow, name):
    trunk, taps = TAPS[name]
    encoder, decoder, head = (narrow[name].get_layer(part) for part in ("encoder", "decoder", "head"))
    assert list(encoder.output) == ["c1", "c2", "c3", "c4", "c5"]
    assert numbers_of(decoder) == {level: f"conv_{index}_leaky" for level, index in taps.items()}
    assert indices(encoder)[-1] < trunk <= indices(decoder)[0]
    everything = indices(encoder) + indices(decoder) + indices(head)
    assert len(set(everything)) == len(everything) == CONVOLUTIONS[name]
    last = {layer.name for layer in head.layers if isinstance(layer, keras.layers.Conv2D) and layer.use_bias}
    assert {f"conv_{index}" for index in indices(head)} >= last == set(numbers_of(head).values())
    assert {batch_norm.epsilon for batch_norm in encoder.layers if batch_norm.name.endswith("_bn")} == {1e-5}


def test_taps_are_the_last_of_their_stride(narrow):
    darknet = {"c1": "shortcut_4", "c2": "shortcut_11", "c3": "shortcut_36", "c4": "shortcut_61", "c5": "shortcut_74"}
    assert numbers_of(narrow["yolov3"].get_layer("encoder")) == darknet
    tiny = dict(zip(darknet, (f"conv_{index}_leaky" for index in (2, 4, 6, 8, 12)), strict=True))
    assert numbers_of(narrow["yolov3-tiny"].get_layer("encoder")) == tiny
    small = dict(zip(darknet, ("conv_0_leaky", "shortcut_4", "shortcut_11", "shortcut_21", "shortcut_28"), strict=True))
    assert numbers_of(narrow["yolov3-small"].get_layer("encoder")) == small
    assert sorted(narrow["yolov3"].get_layer("decoder").input) == ["c3", "c4", "c5"]
    assert sorted(narrow["yolov3-tiny"].get_layer("decoder").input) == ["c4", "c5"]


@pytest.mark.parametrize("name", TAPS)
def test_maps_and_first_objectness(narrow, name):
    """Any multiple of 32; at first every objectness is about 0.01, and no other logit is moved."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype("float32")
    maps = narrow[name](pixels)
    strides = {"p3": 8, "p4": 16, "p5": 32}
    assert {level: tuple(found.shape) for level, found in maps.items()} == {
        level: (1, 64 // strides[level], 96 // strides[level], 24) for level in TAPS[name][1]
    }
    for layer in narrow[name].get_layer("head").layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.use_bias:
            bias = np.array(layer.bias).reshape(3, 8)
            np.testing.assert_allclose(1 / (1 + np.exp(-bias[:, 4])), 0.01, rtol=1e-5)
            assert not np.delete(bias, 4, axis=1).any()


def test_objectness_may_be_left_alone():
    net = yolov3(yolov3_cfg("yolov3-tiny", width=0.1, num_classes=1), rare_objects=False)
    assert not np.array(net.get_layer("head").get_layer("conv_15").bias).any()


def test_half_precision_keeps_raw_maps_whole():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = yolov3(yolov3_cfg("yolov3-tiny", width=0.1, num_classes=1))
        assert {found.dtype for found in net.output.values()} == {"float32"}
        assert {found.dtype for found in net.get_layer("decoder").output.values()} == {"bfloat16"}
    finally:
        keras.config.set_dtype_policy("float32")


# One level of stride 4, no decoder, a pool with padding of its own, a grouped and a plain convolution with bias.
OWN = """
[net]
width=32
height=32
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=relu6
[maxpool]
size=3
stride=2
[convolutional]
filters=6
size=1
groups=2
activation=mish
[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
activation=relu
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=1,0
anchors=4,5, 9,9
classes=2
num=2
"""


def test_own_cfg_is_stored(tmp_path):
    net = yolov3(OWN)
    assert [indices(net.get_layer(part)) for part in ("encoder", "decoder", "head")] == [[0, 2], [], [3, 4]]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 36, 32, 3)).astype("float32")
    maps = net(pixels)
    assert {level: tuple(found.shape) for level, found in maps.items()} == {"p2": (2, 9, 8, 14)}
    net.save(tmp_path / "own.keras")
    again = keras.saving.load_model(tmp_path / "own.keras")(pixels)
    np.testing.assert_array_equal(again["p2"], maps["p2"])


def test_own_trunk():
    net = yolov3(yolov3_cfg("yolov3-tiny", width=0.1, num_classes=1), trunk=9)
    encoder, decoder = net.get_layer("encoder"), net.get_layer("decoder")
    assert list(encoder.output) == ["c1", "c2", "c3", "c4"] and indices(decoder) == [10, 12, 13, 18, 21]
    assert sorted(decoder.input) == ["c4"]


def test_a_map_that_is_no_tap_is_called_by_its_section():
    """Section 0 is read again, but section 1 is the last of its stride."""
    text = OWN.replace("[maxpool]\nsize=3\nstride=2", "[convolutional]\nfilters=4\nactivation=relu").replace(
        "[convolutional]\nbatch_normalize=1\nfilters=6", "[route]\nlayers=0,2\n[convolutional]\nfilters=6"
    )
    net = yolov3(text)
    assert sorted(net.get_layer("encoder").output) == ["c1", "section_0"]
    assert sorted(net.get_layer("decoder").input) == ["c1", "section_0"]
    assert indices(net.get_layer("head")) == [5]  # what reads the route stays in the decoder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("relu6", "softplus"), "line 5: section 0 .*activation=softplus is unknown"),
        (OWN + "[convolutional]\nfilters=3\n", "section 5 .*another section reads it"),
        (OWN + "[route]\nlayers=-2\n[convolutional]\nfilters=3\n", "section 5 .*another section reads it"),
        (OWN + "[route]\nlayers=0\n[convolutional]\nfilters=3\n", "section 6 .*no .yolo. needs it"),
        ("[net]\nwidth=8\nheight=8\n" + OWN[OWN.rindex("[conv") :], "nothing before the head"),
    ],
)
def test_nets_that_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        yolov3(text)


def test_trunk_out_of_range():
    with pytest.raises(UserError, match="a trunk of 4 sections: the head begins at 3; give 1 to 3"):
        yolov3(OWN, trunk=4)

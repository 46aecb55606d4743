"""SegNet's and U-Net's decoders: sizes, skips and their order."""

import keras
import numpy as np
import pytest

from kerastransfer.decoders.yolo_segnet import segnet
from kerastransfer.decoders.yolo_unet import unet

PAPER = {"c1": 64, "c2": 192, "c3": 512, "c4": 1024, "c5": 1024}
STRIDES = {"c1": 4, "c2": 8, "c3": 16, "c4": 32, "c5": 64}


def taps(side=448, batch=1):
    return {tap: (batch, side // STRIDES[tap], side // STRIDES[tap], PAPER[tap]) for tap in PAPER}


def outputs(decoder, shapes, suffix):
    """{layer: (side, channels)} of the layers whose names end so."""
    layers = [layer for layer in decoder.layers if layer.name.endswith(suffix)]
    found = keras.Model(decoder.input, {layer.name: layer.output for layer in layers}).compute_output_shape(shapes)
    return {name: (shape[1], shape[-1]) for name, shape in found.items()}


def test_segnet_as_in_the_paper():
    decoder = segnet(PAPER, STRIDES)
    assert list(decoder.input) == ["c5"]
    shapes = {"c5": taps()["c5"]}
    wanted = {"up1_relu": (14, 512), "up2_relu": (28, 256), "up3_relu": (56, 128), "up4_relu": (112, 64)}
    assert outputs(decoder, shapes, "_relu") == wanted | {"up5_relu": (224, 32)}
    assert decoder.compute_output_shape(shapes) == {"pixels": (1, 224, 224, 32)}


def test_unet_as_in_the_paper():
    decoder = unet(PAPER, STRIDES)
    wanted = {
        "up1": (14, 512),
        "up2": (28, 512),
        "up3": (56, 256),
        "up4": (112, 128),
        "up5": (224, 64),
        "up6": (448, 32),
    }
    assert outputs(decoder, taps(), "_relu") == {f"{name}_relu": shape for name, shape in wanted.items()}
    concatenated = {"skip1": (14, 1536), "skip2": (28, 1024), "skip3": (56, 448), "skip4": (112, 192)}
    assert outputs(decoder, taps(), ("skip1", "skip2", "skip3", "skip4")) == concatenated
    assert decoder.compute_output_shape(taps()) == {"pixels": (1, 448, 448, 32)}


def test_concatenation_is_decoder_then_skip():
    channels, strides = {"c1": 2, "c2": 3}, {"c1": 2, "c2": 4}
    decoder = unet(channels, strides, widths=(5, 4))
    joined = decoder.get_layer("skip1")
    assert [tensor.shape[-1] for tensor in joined.input] == [5, 2]
    read = keras.Model(decoder.input, joined.output)
    given = {"c1": np.full((1, 4, 4, 2), 7, "float32"), "c2": np.random.default_rng(0).normal(size=(1, 2, 2, 3))}
    np.testing.assert_array_equal(np.array(read(given))[..., 5:], given["c1"])


def test_taps_of_one_stride_come_in_together():
    """As in the small encoder, whose last two taps have stride 16."""
    decoder = unet({"c1": 2, "c2": 3, "c3": 4}, {"c1": 2, "c2": 4, "c3": 4}, widths=(5, 4))
    assert [tensor.shape[-1] for tensor in decoder.get_layer("taps").input] == [4, 3]
    assert decoder.get_layer("up1_conv").kernel.shape == (2, 2, 5, 7)


def test_of_two_taps_of_the_largest_stride_segnet_reads_the_deeper():
    assert list(segnet({"c1": 2, "c2": 3, "c3": 4}, {"c1": 2, "c2": 4, "c3": 4}, widths=(5,)).input) == ["c3"]


@pytest.mark.parametrize("side", [32, 96])
def test_an_encoder_of_stride_32_takes_the_last_widths_in_proportion(side):
    """c1 to c5 at 2, 4, 8, 16, 32 and 512 channels at the end: half of the widths."""
    channels, strides = {f"c{i}": 16 * 2**i for i in range(1, 6)}, {f"c{i}": 2**i for i in range(1, 6)}
    shapes = {tap: (2, side // strides[tap], side // strides[tap], channels[tap]) for tap in channels}
    decoder = unet(channels, strides)
    assert decoder.compute_output_shape(shapes) == {"pixels": (2, side, side, 16)}
    assert outputs(decoder, shapes, "up1_relu") == {"up1_relu": (side // 16, 256)}
    flat = segnet(channels, strides)
    assert flat.compute_output_shape({"c5": shapes["c5"]}) == {"pixels": (2, side // 2, side // 2, 16)}
    assert outputs(flat, {"c5": shapes["c5"]}, "up1_relu") == {"up1_relu": (side // 16, 128)}


@pytest.mark.parametrize("build", [segnet, unet])
def test_too_few_widths(build):
    with pytest.raises(ValueError, match="widths"):
        build(PAPER, STRIDES, widths=(8, 4))

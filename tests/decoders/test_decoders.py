"""SegNet's and U-Net's decoders: sizes, skips and their order."""

import keras
import numpy as np
import pytest

from kerastransfer.decoders.deeplab import deeplab, pyramid
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


def test_deeplab_as_in_the_paper():
    """On a ResNet-101 of stride 16: 1024 channels from 2048, at the size of c5."""
    channels, strides = {"c4": 1024, "c5": 2048}, {"c4": 16, "c5": 16}
    decoder = deeplab(channels, strides)
    assert list(decoder.input) == ["c5"]
    assert decoder.compute_output_shape({"c5": (1, 14, 14, 2048)}) == {"pixels": (1, 14, 14, 1024)}
    kernel, bias = decoder.weights
    assert kernel.shape == (1, 1, 2048, 1024) and not np.any(bias)
    assert np.std(kernel) == pytest.approx(0.01, rel=0.01)
    assert pyramid(channels, strides).output["pixels"].shape[-1] == 256
    assert deeplab({"c5": 512}, {"c5": 16}).output["pixels"].shape[-1] == 256


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_the_pyramid_reaches_as_far_in_the_image_at_any_stride(stride, rates):
    decoder = pyramid({"c5": 64}, {"c5": stride}, widths=(8,))
    assert [decoder.get_layer(f"pyramid{number}_conv").dilation_rate[0] for number in (2, 3, 4)] == rates


def test_the_pyramid_joins_its_branches_as_one_convolution_would():
    """Of five joined maps, one of them the mean of the image at every place (Chen et al. 2017, figure 5)."""
    decoder = pyramid({"c5": 6}, {"c5": 32}, widths=(4,))
    keras.utils.set_random_seed(0)
    maps = np.random.default_rng(0).normal(size=(2, 5, 7, 6)).astype("float32")
    names = ["pyramid1_relu", "pyramid2_relu", "pyramid3_relu", "pyramid4_relu", "image_relu", "join"]
    read = keras.Model(decoder.input, [decoder.get_layer(name).output for name in names])
    *branches, joined = (np.array(one) for one in read({"c5": maps}))
    mean = np.broadcast_to(branches.pop(), (2, 5, 7, 4))
    kernel = np.concatenate([np.array(decoder.get_layer(f"{part}_join").kernel)[0, 0] for part in ("pyramid", "image")])
    np.testing.assert_allclose(joined, np.concatenate([*branches, mean], axis=-1) @ kernel, atol=1e-5)
    weights = np.array(decoder.get_layer("image_conv").kernel)[0, 0]
    wanted = np.maximum(maps.mean(axis=(1, 2), keepdims=True) @ weights / np.sqrt(1 + 1e-5), 0)
    np.testing.assert_allclose(mean[:, :1, :1], wanted, atol=1e-5)

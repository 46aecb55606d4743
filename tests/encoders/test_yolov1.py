"""The encoders' tables: shapes, counts of parameters, strides."""

import keras
import numpy as np
import pytest

from kerastransfer.encoders import ENCODERS
from kerastransfer.encoders.taps import strides
from kerastransfer.encoders.yolov1 import (
    FAST_YOLO,
    POOL,
    SMALL,
    TABLES,
    strides_to,
    yolov1_encoder,
)

# Narrow, with every kind of layer: strided convolutions of 7 and 3, pools, 1 x 1; total stride 32.
NARROW = (((4, 7, 2),), ((6, 3), POOL), ((4, 1), (6, 3, 2)), ((8, 3), POOL), ((8, 3, 2), (8, 3)))

# YOLOv1 (Redmon et al. 2016), figure 3, at 448 x 448: the output of each of the 24 convolutions and 4 pools.
TABLE = [
    *[(224, 64), (112, 64)],
    *[(112, 192), (56, 192)],
    *[(56, 128), (56, 256), (56, 256), (56, 512), (28, 512)],
    *[(28, 256), (28, 512)] * 4,
    *[(28, 512), (28, 1024), (14, 1024)],
    *[(14, 512), (14, 1024)] * 2,
    *[(14, 1024), (7, 1024), (7, 1024), (7, 1024)],
]


def image(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, *size, 3)).astype("float32")


@pytest.fixture(scope="module")
def yolov1():
    return yolov1_encoder()


def test_shapes_of_every_layer_at_448(yolov1):
    ends = [layer for layer in yolov1.layers if layer.name.endswith(("_leaky", "_pool"))]
    outputs = keras.Model(yolov1.input, [layer.output for layer in ends]).compute_output_shape((1, 448, 448, 3))
    assert outputs == [(1, side, side, channels) for side, channels in TABLE]


def test_taps_at_448(yolov1):
    sizes = {"c1": (112, 64), "c2": (56, 192), "c3": (28, 512), "c4": (14, 1024), "c5": (7, 1024)}
    wanted = {tap: (1, side, side, channels) for tap, (side, channels) in sizes.items()}
    assert yolov1.compute_output_shape((1, 448, 448, 3)) == wanted
    assert strides(yolov1) == {"c1": 4, "c2": 8, "c3": 16, "c4": 32, "c5": 64}


def count(weights):
    return sum(int(np.prod(w.shape)) for w in weights)


def test_parameters(yolov1):
    convolutions = [layer for layer in yolov1.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 24 and not any(layer.use_bias for layer in convolutions)
    assert count(layer.kernel for layer in convolutions) == 60_142_784
    assert count(yolov1.trainable_weights) == 60_169_152
    assert count(yolov1.non_trainable_weights) == 26_368


def test_fast_yolo_has_nine_convolutions():
    encoder = yolov1_encoder(FAST_YOLO)
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in encoder.layers) == 9
    assert encoder.compute_output_shape((1, 448, 448, 3))["c5"] == (1, 7, 7, 1024)


def test_small_keeps_the_stride_of_its_fourth_tap():
    assert strides(yolov1_encoder(SMALL)) == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 16}


def test_a_residual_block_is_added_to_what_it_reads():
    """With a block of zeros the tap is the first convolution's output."""
    encoder = yolov1_encoder((((6, 3, 2), ((3, 1), (6, 3))),))
    assert [layer.name for layer in encoder.layers if "conv" in layer.name] == ["c1_1_conv", "c1_2_conv", "c1_3_conv"]
    pixels = image(16, 16)
    before = keras.Model(encoder.input, encoder.get_layer("c1_1_leaky").output)(pixels)
    assert np.abs(encoder(pixels)["c1"] - before).max() > 0
    encoder.get_layer("c1_3_bn").gamma.assign(np.zeros(6))
    np.testing.assert_allclose(encoder(pixels)["c1"], before, atol=1e-6)


@pytest.mark.parametrize(("name", "strided"), [("yolov1", 6), ("fast_yolo", 6), ("small", 4)])
@pytest.mark.slow
def test_strides_of_one_keep_the_size_of_the_image(name, strided):
    encoder = ENCODERS[name](strides=(1,) * strided)
    for size in ((64, 64), (96, 96), (127, 127), (31, 50)):
        assert {shape[1:3] for shape in encoder.compute_output_shape((1, *size, 3)).values()} == {size}


@pytest.mark.slow
def test_the_small_encoder_has_no_leaky_activation():
    """What int8 needs; the two of Darknet have no other."""
    kinds = {
        name: {type(layer).__name__ for layer in build().layers} for name, build in ENCODERS.items() if name in TABLES
    }
    assert "LeakyReLU" not in kinds["small"] and "ReLU" in kinds["small"]
    for name in ("yolov1", "fast_yolo"):
        assert "LeakyReLU" in kinds[name] and "ReLU" not in kinds[name]


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (127, 127), (5, 1)])
def test_dense_output_is_as_large_as_the_image(size):
    encoder = yolov1_encoder(NARROW, strides=(1,) * 5)
    assert {np.array(tap).shape[1:3] for tap in encoder(image(*size)).values()} == {size}


@pytest.mark.parametrize("size", [(64, 64), (70, 33)])
def test_weights_do_not_depend_on_strides(size):
    """The same weights on other strides: what comes before the first changed stride is equal."""
    strided, dense = yolov1_encoder(NARROW), yolov1_encoder(NARROW, strides=(2, 2, 1, 1, 1))
    assert [w.path for w in strided.weights] == [w.path for w in dense.weights]
    dense.set_weights(strided.get_weights())
    one, other = strided(image(*size)), dense(image(*size))
    for tap in ("c1", "c2"):
        np.testing.assert_array_equal(one[tap], other[tap])
    assert one["c3"].shape[1] < other["c3"].shape[1] == other["c5"].shape[1]


def test_pixels_are_scaled_inside():
    encoder = yolov1_encoder(NARROW)
    rescale, conv = encoder.get_layer("rescale"), encoder.get_layer("c1_1_conv")
    np.testing.assert_allclose(rescale(image(4, 4)), image(4, 4) / 255, rtol=1e-6)
    assert conv.input is not encoder.input


@pytest.mark.parametrize(("strides", "came"), [((), 0), ((2,) * 4, 4), ((2,) * 6, 6)])
def test_wrong_number_of_strides(strides, came):
    with pytest.raises(ValueError, match=f"{came} strides came for 5 strided layers"):
        yolov1_encoder(NARROW, strides=strides)


RESIDUAL = (((4, 3, 2),), ((4, 3, 2), ((2, 1), (4, 3))), ((6, 3), POOL, ((3, 1), (6, 3))))


def alive(encoder, seed=0):
    """The encoder with statistics and offsets that are not those of a fresh one, so that borders matter."""
    random = np.random.default_rng(seed)
    for weight in encoder.weights:
        if "bn" in weight.path:
            weight.assign(random.uniform(0.5, 1.5, weight.shape) - (0 if "var" in weight.path else 0.4))
    return encoder


@pytest.mark.parametrize("stages", [NARROW, RESIDUAL], ids=["narrow", "residual"])
@pytest.mark.parametrize("output_stride", [1, 2, 4, 8])
def test_a_trous_sampled_is_the_strided_encoder(stages, output_stride):
    """Everywhere, borders included, where the total stride divides the sides."""
    strided = alive(yolov1_encoder(stages))
    dense = yolov1_encoder(stages, strides=strides_to(stages, output_stride), dilate=True)
    dense.set_weights(strided.get_weights())
    pixels = image(64, 96)
    last = next(reversed(strided.output))
    step = strides(strided)[last] // output_stride
    want, got = np.array(strided(pixels)[last]), np.array(dense(pixels)[last])
    assert got.shape[1:3] == (64 // output_stride, 96 // output_stride)
    np.testing.assert_allclose(got[:, ::step, ::step], want, atol=1e-5)


def test_a_trous_has_no_stride_behind_a_dilation():
    with pytest.raises(ValueError, match="take the last away"):
        yolov1_encoder(NARROW, strides=(2, 1, 2, 1, 1), dilate=True)


def test_strides_to():
    assert strides_to(NARROW, 1) == [1] * 5 and strides_to(NARROW, 32) == [2] * 5
    assert strides_to(SMALL, 4) == [2, 2, 1, 1]
    for wrong in (0, 3, 64, -2):
        with pytest.raises(ValueError, match="choose one of 1, 2, 4, 8, 16, 32"):
            strides_to(NARROW, wrong)

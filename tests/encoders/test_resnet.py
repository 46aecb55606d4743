"""ResNets against torchvision's and those of keras.applications, with random weights and statistics."""

import keras
import numpy as np
import pytest
import torch_reference
from torch_reference import torch_name

import kerastransfer as kt
from kerastransfer.encoders import ENCODERS
from kerastransfer.encoders.keras_resnet import copy_keras_resnet
from kerastransfer.encoders.preprocessing import PREPROCESSING
from kerastransfer.encoders.resnet import NETS, resnet
from kerastransfer.encoders.taps import strides
from kerastransfer.errors import UserError
from kerastransfer.layers.deformable import DeformableConv2D
from kerastransfer.models.parts import freeze
from kerastransfer.runs import trained

NARROW = ((4, 1), (5, 2), (6, 1), (7, 1))
TAPS = ["c1", "c2", "c3", "c4", "c5"]
# Sides that no stride divides, so that padding on the wrong side would show.
IMAGE = np.random.default_rng(0).integers(0, 256, (1, 75, 97, 3)).astype("float32")


@pytest.mark.slow
def test_maps_and_parameters_are_those_of_torchvision():
    names = ["resnet18", "resnet34", "resnet50", "resnet101"]
    prepared = np.array(PREPROCESSING["torch"](IMAGE))
    for name, (state, maps, parameters) in torch_reference.asked("resnets", names, prepared).items():
        encoder = ENCODERS[name](stride_in="3x3", preprocessing="torch")
        assert sum(int(np.prod(variable.shape)) for variable in encoder.trainable_variables) == parameters
        left = {key for key in state if not key.endswith("num_batches_tracked")}
        for variable in encoder.variables:
            value = state[torch_name(variable)]
            left.remove(torch_name(variable))
            variable.assign(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value)
        assert not left
        got = encoder(IMAGE)
        for tap, expected in zip(TAPS, maps, strict=True):
            # Not the offsets of batch normalization alone.
            assert np.std(expected, axis=(1, 2)).max() > 0.02 * np.abs(expected).max()
            np.testing.assert_allclose(got[tap], expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)


# torchvision's without the last layer.
PARAMETERS = {"resnet18": 11_176_512, "resnet34": 21_284_672, "resnet50": 23_508_032, "resnet101": 42_500_160}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_parameters_and_taps(name):
    encoder = kt.encoder(name)
    found = sum(int(np.prod(variable.shape)) for variable in encoder.trainable_variables)
    # Each convolution of offsets has 27 outputs, and reads the filters of its stage in all of its 4, 23 and 3 blocks.
    offsets = sum(blocks * (9 * filters + 1) * 27 for filters, blocks in ((128, 4), (256, 23), (512, 3)))
    dcn = name == "resnet101_dcn"
    assert found == (PARAMETERS["resnet101"] + offsets if dcn else PARAMETERS[name])
    assert strides(encoder) == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 32}
    widths = (64, 64, 128, 256, 512) if NETS[name].get("block") else (64, 256, 512, 1024, 2048)
    assert [encoder.output[tap].shape[-1] for tap in TAPS] == list(widths)


def test_where_the_stride_is():
    for place, wanted in (("1x1", "_1_conv"), ("3x3", "_2_conv")):
        encoder = resnet(NARROW, stride_in=place)
        convolutions = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
        found = {layer.name for layer in convolutions if layer.strides == (2, 2)}
        assert found == {"c1_conv"} | {f"c{n}_1{end}" for n in (3, 4, 5) for end in (wanted, "_shortcut_conv")}


def test_where_convolutions_are_deformable():
    assert not any(isinstance(layer, DeformableConv2D) for layer in resnet(NARROW).layers)
    for kind in (1, 2):
        encoder = resnet(NARROW, deformable=kind, stride_in="3x3")
        found = {layer.name: layer for layer in encoder.layers if isinstance(layer, DeformableConv2D)}
        assert list(found) == ["c3_1_2_conv", "c3_2_2_conv", "c4_1_2_conv", "c5_1_2_conv"]
        assert {layer.modulated for layer in found.values()} == {kind == 2}
        assert [layer.stride for layer in found.values()] == [2, 1, 2, 2]


def alive(model):
    """The model with weights, biases and statistics of which none is that of a fresh one."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [
                    random.uniform(low, high, value.shape)
                    for value, (low, high) in zip(
                        layer.get_weights(), ((0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1.5)), strict=True
                    )
                ]
            )
        elif layer.weights:
            kernel, *bias = layer.get_weights()
            layer.set_weights([kernel, *(random.uniform(-0.5, 0.5, value.shape) for value in bias)])
    return model


THEIRS = {
    "c1": "conv1_relu",
    "c2": "conv2_block3_out",
    "c3": "conv3_block4_out",
    "c4": "conv4_block6_out",
    "c5": "conv5_block3_out",
}


@pytest.mark.slow
def test_weights_of_keras_applications():
    """Its maps are those of the model, also if the kernels become deformable: they begin without offsets."""
    model = alive(keras.applications.ResNet50(weights=None, input_shape=(64, 96, 3), classes=5))
    image = IMAGE[:, :64, :96]
    maps = keras.Model(model.input, [model.get_layer(name).output for name in THEIRS.values()])
    expected = maps(PREPROCESSING["caffe"](image))
    for options in ({}, {"epsilon": 1e-3}, {"deformable": 1}, {"deformable": 2}):
        encoder = ENCODERS["resnet50"](**options)
        copy_keras_resnet(model, encoder)
        for tap, wanted in zip(TAPS, expected, strict=True):
            np.testing.assert_allclose(encoder(image)[tap], wanted, atol=1e-4 * np.abs(wanted).max(), err_msg=tap)


@pytest.mark.slow
def test_an_encoder_with_copied_weights_is_a_file_that_opens(tmp_path):
    """As docs/labelenc.md has it."""
    encoder = ENCODERS["resnet50"](deformable=2)
    copy_keras_resnet(keras.applications.ResNet50(weights=None, include_top=False), encoder)
    encoder.save(tmp_path / "encoder.keras")
    opened = trained.encoder(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(opened(IMAGE[:, :64, :96])["c5"], encoder(IMAGE[:, :64, :96])["c5"])


@pytest.mark.slow
def test_weights_that_do_not_fit():
    model = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(None, None, 3))
    with pytest.raises(UserError, match=r"lacks conv4_block10_0?.*, .* and has nothing more; give a ResNet"):
        copy_keras_resnet(model, ENCODERS["resnet101"]())
    with pytest.raises(
        UserError, match=r"conv3_block1_1_conv has a kernel of .* and stride 2, c3_1_1_conv of .* stride 1"
    ):
        copy_keras_resnet(model, ENCODERS["resnet50"](stride_in="3x3"))
    with pytest.raises(UserError, match="conv1_conv has a kernel"):
        copy_keras_resnet(model, resnet(((4, 3), (5, 4), (6, 6), (7, 3))))


def test_pixels_are_prepared_inside():
    """Scaled in as many ways as there are, to the same convolution."""
    for name, prepare in PREPROCESSING.items():
        encoder = resnet(NARROW[:1], preprocessing=name, block="basic")
        conv = encoder.get_layer("c1_conv")
        padded = np.pad(np.array(prepare(IMAGE)), ((0, 0), (3, 3), (3, 3), (0, 0)))
        expected = np.maximum(np.array(encoder.get_layer("c1_bn")(conv(padded))), 0)
        np.testing.assert_allclose(encoder(IMAGE)["c1"], expected, atol=1e-4, err_msg=name)
    with pytest.raises(UserError, match="unknown preprocessing 'vgg'; choose none, tf, caffe, torch, unit"):
        resnet(NARROW, preprocessing="vgg")


@pytest.mark.parametrize("wrong", [{"block": "dense"}, {"stride_in": "5x5"}, {"deformable": 3}])
def test_unknown_options(wrong):
    with pytest.raises(ValueError, match=r"choose a block of basic, bottleneck, '1x1' or '3x3', and 0, 1 or 2"):
        resnet(NARROW, **wrong)


def test_the_first_stages_can_be_frozen():
    """The stem and the first stage, as in LabelEnc."""
    encoder = resnet(NARROW)
    freeze(keras.Model(encoder.input, encoder.output["c2"]))
    names = {variable.path.split("/")[-2] for variable in encoder.trainable_variables}
    assert names and not any(name.startswith(("c1", "c2")) for name in names)


def test_names_that_differ_by_a_hyphen():
    """ "resnet50" is built here, with random weights; "resnet-50" is a preset."""
    from kerastransfer.presets import PRESETS

    assert "resnet-50" in PRESETS and not set(ENCODERS) & {name for name in PRESETS if name.startswith("resnet")}

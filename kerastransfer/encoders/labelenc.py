"""The label encoder of LabelEnc (Hao et al. 2020, table 8): label maps to what an encoder would give for the image."""

from collections.abc import Mapping

import keras

from kerastransfer.errors import UserError
from kerastransfer.layers.blocks import pad

# (stride, channels) of the stages that it has in the paper, those of a ResNet-50.
RESNET50 = {"c2": (4, 256), "c3": (8, 512), "c4": (16, 1024), "c5": (32, 2048)}
# Bottlenecks of a stage, by its stride.
BLOCKS = {4: 1, 8: 2, 16: 2, 32: 1, 64: 1}
STEM = 128


def labelenc(
    num_classes: int, stages: Mapping[str, tuple[int, int]] = RESNET50, *, name: str = "label_encoder"
) -> keras.Model:
    """From label maps (B, H, W, num_classes) (`codecs.labelenc`) to the maps called as in `stages`, {name: (stride,
    channels)}, which are those that a detector's decoder reads from its encoder.

    A convolution of stride 2, then stages of bottlenecks with stride 2; ReLU, and no normalization. With 80 classes and
    the stages of a ResNet-50 it has 19 layers and 9,910,272 parameters.
    Raises UserError for strides other than 4, 8, 16, 32 and 64, and for two maps with the same one.
    """
    wanted = dict(stages.values())
    if len(wanted) < len(stages) or not wanted.keys() <= BLOCKS.keys():
        has = ", ".join(f"{tap} of stride {stride}" for tap, (stride, _) in stages.items())
        strides = ", ".join(map(str, BLOCKS))
        raise UserError(f"a label encoder gives one map of each of the strides {strides}; the detector reads {has}")
    label_map = keras.Input((None, None, num_classes), name="label_map")
    x = _convolution(pad(label_map, 3, "stem"), STEM, 7, 2, name="stem", start=_torch(49 * num_classes))
    found = {}
    for stride in (stride for stride in BLOCKS if stride <= max(wanted)):
        # A stage that is not read has the channels of the next one that is.
        channels = wanted[min(one for one in wanted if one >= stride)]
        for index in range(1, BLOCKS[stride] + 1):
            x = _bottleneck(x, channels, 2 if index == 1 else 1, name=f"s{stride}_{index}")
        found[stride] = x
    return keras.Model(label_map, {tap: found[stride] for tap, (stride, _) in stages.items()}, name=name)


def _bottleneck(x, channels, stride, *, name):
    inner = max(1, channels // 4)
    y = keras.layers.ReLU(name=f"{name}_1_relu")(_convolution(x, inner, 1, name=f"{name}_1"))
    y = _convolution(pad(y, 1, f"{name}_2"), inner, 3, stride, name=f"{name}_2")
    y = keras.layers.ReLU(name=f"{name}_2_relu")(y)
    y = _convolution(y, channels, 1, name=f"{name}_3")
    if stride > 1 or x.shape[-1] != channels:
        x = keras.layers.Conv2D(
            channels, 1, stride, use_bias=False, kernel_initializer=_kaiming(), name=f"{name}_shortcut"
        )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, y]))


def _convolution(x, filters, kernel, stride=1, *, name, start=None):
    bias = _torch(kernel * kernel * x.shape[-1])
    return keras.layers.Conv2D(
        filters, kernel, stride, kernel_initializer=start or _kaiming(), bias_initializer=bias, name=name
    )(x)


def _kaiming():
    """Uniform, to the square root of 3 / inputs: Kaiming's with a = 1, as in the authors' code."""
    return keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")


def _torch(inputs):
    """PyTorch's own start: uniform, to the square root of 1 / inputs."""
    bound = inputs**-0.5
    return keras.initializers.RandomUniform(-bound, bound)

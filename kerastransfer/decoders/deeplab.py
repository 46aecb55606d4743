"""The decoders of DeepLab, which read the last tap alone and stay at its size (Chen et al. 2018, 2017).

They are made for an encoder whose last strides are replaced by dilation (`models.dense.dilated`).
"""

from collections.abc import Mapping, Sequence

import keras

from kerastransfer.decoders.widths import in_proportion
from kerastransfer.decoders.yolo_segnet import deepest
from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.layers.blocks import activate, conv_bn

# For an encoder whose last tap has 1024 channels; those of a ResNet's are 2048, and its decoders twice as wide.
WIDTH, PYRAMID_WIDTH = (512,), (128,)
# Dilations of the pyramid at stride 16.
RATES = (6, 12, 18)


def deeplab(
    channels: Mapping[str, int],
    strides: Mapping[str, int],
    *,
    widths: Sequence[int] | None = None,
    name: str = "decoder",
) -> keras.Model:
    """From {"c5": (B, h, w, D)} to {"pixels": (B, h, w, widths[0])}: a 1 x 1 convolution and ReLU (the code of
    Deformable ConvNets, Dai et al. 2017, which Li et al. 2019, section 4.2, use).

    channels, strides: those of the encoder's taps. widths: by default 1024 behind the 2048 channels of a ResNet-101,
    and in proportion behind others. Weights begin as in that code, normally distributed with deviation 0.01.
    """
    tap = deepest(strides)
    (width,) = widths or in_proportion(WIDTH, channels[tap])
    features = keras.Input((None, None, channels[tap]), name=tap)
    start = keras.initializers.RandomNormal(stddev=0.01)
    x = keras.layers.Conv2D(width, 1, kernel_initializer=start, name="fc6_conv")(features)
    return keras.Model({tap: features}, {"pixels": activate(x, "relu", "fc6")}, name=name)


def pyramid(
    channels: Mapping[str, int],
    strides: Mapping[str, int],
    *,
    widths: Sequence[int] | None = None,
    name: str = "decoder",
) -> keras.Model:
    """From {"c5": (B, h, w, D)} to {"pixels": (B, h, w, widths[0])}: atrous spatial pyramid pooling (DeepLab v3, Chen
    et al. 2017, section 3.3).

    A 1 x 1 convolution, three 3 x 3 ones whose dilations are `RATES` at stride 16 and in proportion at others, and the
    mean of the image are joined by a 1 x 1 convolution; all have batch normalization and ReLU. widths: of each of
    these, by default 256 behind 2048 channels, and in proportion behind others.
    """
    tap = deepest(strides)
    (width,) = widths or in_proportion(PYRAMID_WIDTH, channels[tap])
    features = keras.Input((None, None, channels[tap]), name=tap)

    def conv(x, kernel, branch, dilation=1):
        return conv_bn(x, width, kernel, dilation=dilation, name=branch, activation="relu", momentum=0.9)

    rates = [max(1, rate * 16 // strides[tap]) for rate in RATES]
    branches = [conv(features, 1, "pyramid1")]
    branches += [conv(features, 3, f"pyramid{number}", rate) for number, rate in enumerate(rates, start=2)]
    image = conv(keras.layers.GlobalAveragePooling2D(keepdims=True, name="image_mean")(features), 1, "image")
    # One convolution of all five would need the mean at every place; a sum of two convolutions is the same.
    parts = [
        keras.layers.Conv2D(width, 1, use_bias=False, name=f"{part}_join")(x)
        for part, x in (("pyramid", keras.layers.Concatenate(name="pyramid")(branches)), ("image", image))
    ]
    x = BatchNorm(momentum=0.9, name="join_bn")(keras.layers.Add(name="join")(parts))
    return keras.Model({tap: features}, {"pixels": activate(x, "relu", "join")}, name=name)

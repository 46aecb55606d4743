"""Blocks: functions from tensor to tensor that name their layers."""

import keras

from kerastransfer.layers.batch_norm import BatchNorm


def pad(x, size: int, name: str):
    """`size` zero pixels on every side. Keras's "same" pads a strided convolution on the far sides only, which is not
    Darknet's padding."""
    return keras.layers.ZeroPadding2D(size, name=f"{name}_pad")(x) if size else x


def conv_bn(x, filters: int, kernel: int, stride: int = 1, *, dilation: int = 1, name: str, activation: str = "leaky"):
    """Darknet's convolution: symmetric padding of dilation * (kernel // 2), no bias, batch norm, leaky ReLU.

    (B, H, W, D) to (B, ceil(H / stride), ceil(W / stride), filters) for odd kernels. activation: "leaky" (of slope 0.1)
    or "relu6". Either stride or dilation is 1.
    """
    padding = "same"
    if stride > 1:
        x, padding = pad(x, kernel // 2, name), "valid"
    if kernel == 1:
        dilation = 1  # it changes nothing, and TensorFlow would rearrange the whole map for it
    x = keras.layers.Conv2D(
        filters, kernel, stride, padding=padding, dilation_rate=dilation, use_bias=False, name=f"{name}_conv"
    )(x)
    x = BatchNorm(name=f"{name}_bn")(x)
    if activation == "relu6":
        return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)
    return keras.layers.LeakyReLU(negative_slope=0.1, name=f"{name}_leaky")(x)


def up(x, filters: int, *, name: str):
    """Transposed convolution 2 x 2 of stride 2 with bias, batch norm, ReLU: (B, H, W, D) to (B, 2H, 2W, filters)."""
    x = keras.layers.Conv2DTranspose(filters, 2, 2, name=f"{name}_conv")(x)
    x = BatchNorm(name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)

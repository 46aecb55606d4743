"""Blocks: functions from tensor to tensor that name their layers."""

import keras

from kerastransfer.errors import UserError
from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.layers.deformable import DeformableConv2D

ACTIVATIONS = {
    "leaky": lambda name: keras.layers.LeakyReLU(negative_slope=0.1, name=name),
    "relu": lambda name: keras.layers.ReLU(name=name),
    "relu6": lambda name: keras.layers.ReLU(6.0, name=name),
}


def activate(x, activation: str, name: str):
    """Apply the layer NAME_ACTIVATION. activation: one of ACTIVATIONS; "leaky" is Darknet's, with a slope of 0.1, and
    "relu6" suits int8."""
    if activation not in ACTIVATIONS:
        raise UserError(f"unknown activation {activation!r}; choose {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation](f"{name}_{activation}")(x)


def pad(x, size: int, name: str):
    """Pad with `size` zero pixels on all sides, as Darknet does. Keras's "same" pads a strided convolution only on the
    far sides."""
    return keras.layers.ZeroPadding2D(size, name=f"{name}_pad")(x) if size else x


def conv_bn(
    x,
    filters: int,
    kernel: int,
    stride: int = 1,
    *,
    dilation: int = 1,
    deformable: int = 0,
    name: str,
    activation: str | None = "leaky",
    epsilon: float = 1e-5,
    momentum: float = 0.99,
    use_bias: bool = False,
):
    """Darknet's convolution: symmetric padding of dilation * (kernel // 2), no bias, batch normalization, activation.

    From (B, H, W, D) to (B, ceil(H / stride), ceil(W / stride), filters), for odd kernels. activation: as for
    `activate`, or None. deformable: 1 for a deformable convolution, 2 for a modulated one. Either stride or dilation
    must be 1. epsilon, momentum: of batch normalization. use_bias: add a bias to the convolution, although the mean of
    the batch takes it away again.
    """
    if deformable:
        options = {"dilation": dilation, "modulated": deformable == 2, "use_bias": use_bias}
        x = DeformableConv2D(filters, kernel, stride, **options, name=f"{name}_conv")(x)
    else:
        x = _conv(x, filters, kernel, stride, dilation, use_bias, name)
    x = BatchNorm(momentum=momentum, epsilon=epsilon, name=f"{name}_bn")(x)
    return activate(x, activation, name) if activation else x


def _conv(x, filters, kernel, stride, dilation, use_bias, name):
    padding = "same"
    if stride > 1:
        x, padding = pad(x, kernel // 2, name), "valid"
    if kernel == 1:
        # Dilation has no effect here, but TensorFlow would rearrange the whole map for it.
        dilation = 1
    return keras.layers.Conv2D(
        filters, kernel, stride, padding=padding, dilation_rate=dilation, use_bias=use_bias, name=f"{name}_conv"
    )(x)


def up(x, filters: int, *, name: str):
    """A 2 x 2 transposed convolution of stride 2 with bias, batch normalization and ReLU: from (B, H, W, D) to
    (B, 2H, 2W, filters)."""
    x = keras.layers.Conv2DTranspose(filters, 2, 2, name=f"{name}_conv")(x)
    return activate(BatchNorm(name=f"{name}_bn")(x), "relu", name)


def double_conv(x, filters: int, *, name: str):
    """Two 3 x 3 convolutions with bias, each with batch normalization and ReLU, as in U-Nets: from (B, H, W, D) to
    (B, H, W, filters)."""
    for number in (1, 2):
        x = unet_conv(x, filters, 3, name=f"{name}_{number}")
    return x


def unet_conv(x, filters: int, kernel: int, *, name: str):
    """A convolution of a U-Net as Dippel et al. 2022 build it: with bias, batch normalization of momentum 0.9, ReLU."""
    return conv_bn(x, filters, kernel, name=name, activation="relu", momentum=0.9, use_bias=True)


def volume_conv(x, filters: int, *, name: str):
    """A 3 x 3 x 3 convolution as in Models Genesis (Zhou et al. 2019): with bias, batch normalization and ReLU. From
    (B, D, H, W, C) to (B, D, H, W, filters)."""
    x = keras.layers.Conv3D(filters, 3, padding="same", name=f"{name}_conv")(x)
    # Not Keras's momentum of 0.99: a few labelled volumes are a few hundred steps, after which an eighth of the moving
    # statistics would still be the initial ones, to the disadvantage of whatever was not transferred.
    return activate(BatchNorm(epsilon=1e-3, momentum=0.9, name=f"{name}_bn")(x), "relu", name)

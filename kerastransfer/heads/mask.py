"""The head that predicts masks in boxes (Mask R-CNN, He et al. 2017, figure 4; YOLO-Mask, section 3)."""

import keras

from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.layers.blocks import activate
from kerastransfer.layers.rois import Fold, Unfold


def fcn(
    channels: int,
    num_classes: int,
    *,
    pool: int = 14,
    mask_size: int = 28,
    convs: int = 4,
    filters: int = 256,
    activation: str = "relu",
    batch_norm: bool = False,
    name: str = "head",
) -> keras.Model:
    """From {"rois": (B, N, P, P, D)} to logits (B, N, M, M, K): `convs` 3 x 3 convolutions, a transposed one that
    doubles the side, and one mask per class.

    num_classes: K; 1 for a class-agnostic mask.
    pool: P, the side of the pooled features.
    mask_size: M, 2 P or a divisor of it. If it is smaller, the last convolution has a kernel and a stride of 2 P / M,
        so that no part of the map is left out (YOLO-Mask, section 4, uses 7 and does not name a kernel).
    activation: one of `layers.blocks.ACTIVATIONS`; "relu6" suits int8.
    batch_norm: whether batch normalization follows each 3 x 3 convolution. Its statistics then include padding rows.
    """
    if 2 * pool % mask_size:
        raise ValueError(f"mask_size {mask_size}: give {2 * pool}, or a whole part of it, for a pool of {pool}")
    stride = 2 * pool // mask_size

    rois = keras.Input((None, pool, pool, channels), name="rois")
    x = Fold(name="fold")(rois)
    for number in range(1, convs + 1):
        x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer=_he(), name=f"conv{number}")(x)
        x = BatchNorm(name=f"conv{number}_bn")(x) if batch_norm else x
        x = activate(x, activation, f"conv{number}")
    x = keras.layers.Conv2DTranspose(filters, 2, 2, kernel_initializer=_he(), name="up")(x)
    x = activate(x, activation, "up")
    small = keras.initializers.RandomNormal(stddev=0.001)
    x = keras.layers.Conv2D(num_classes, stride, stride, kernel_initializer=small, dtype="float32", name="logits")(x)
    x = Unfold(dtype="float32", name="masks")(x, rois)
    return keras.Model({"rois": rois}, x, name=name)


def _he():
    """He normal initialization by the number of output connections, not truncated."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")

"""Heads with one logit per class for each pixel."""

import keras


def transposed(features: int, num_classes: int, *, name: str = "head") -> keras.Model:
    """From {"pixels": (B, H / 2, W / 2, D)} to logits (B, H, W, K): the last step of YoloSegNet, a 2 x 2 transposed
    convolution of stride 2."""
    pixels = keras.Input((None, None, features), name="pixels")
    logits = keras.layers.Conv2DTranspose(num_classes, 2, 2, dtype="float32", name="logits")(pixels)
    return keras.Model({"pixels": pixels}, logits, name=name)


def pointwise(features: int, num_classes: int, *, name: str = "head") -> keras.Model:
    """From {"pixels": (B, H, W, D)} to logits (B, H, W, K): the last layer of YoloUNet, a 1 x 1 convolution."""
    pixels = keras.Input((None, None, features), name="pixels")
    logits = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(pixels)
    return keras.Model({"pixels": pixels}, logits, name=name)


def interpolated(features: int, num_classes: int, scale: int, *, name: str = "head") -> keras.Model:
    """From {"pixels": (B, H / scale, W / scale, D)} to logits (B, H, W, K): a 1 x 1 convolution, whose logits are
    interpolated bilinearly (DeepLab, Chen et al. 2018, section 3.1).

    The authors' code interpolates with a fixed transposed convolution, which reads zeros beyond the border: its logits
    fade there. This is the same away from the border, has no weights, and is one builtin operator of LiteRT.
    """
    pixels = keras.Input((None, None, features), name="pixels")
    start = keras.initializers.RandomNormal(stddev=0.01)
    coarse = keras.layers.Conv2D(num_classes, 1, kernel_initializer=start, dtype="float32", name="coarse")(pixels)
    logits = keras.layers.UpSampling2D(scale, interpolation="bilinear", dtype="float32", name="logits")(coarse)
    return keras.Model({"pixels": pixels}, logits, name=name)

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

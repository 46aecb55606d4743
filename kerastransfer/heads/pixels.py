"""Heads that give each pixel a logit per class."""

import keras


def transposed(features: int, num_classes: int, *, name: str = "head") -> keras.Model:
    """{"pixels": (B, H / 2, W / 2, D)} to logits (B, H, W, K): the last step of YoloSegNet, 2 x 2 of stride 2."""
    pixels = keras.Input((None, None, features), name="pixels")
    logits = keras.layers.Conv2DTranspose(num_classes, 2, 2, dtype="float32", name="logits")(pixels)
    return keras.Model({"pixels": pixels}, logits, name=name)


def pointwise(features: int, num_classes: int, *, name: str = "head") -> keras.Model:
    """{"pixels": (B, H, W, D)} to logits (B, H, W, K) by a 1 x 1 convolution: the last layer of YoloUNet."""
    pixels = keras.Input((None, None, features), name="pixels")
    logits = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(pixels)
    return keras.Model({"pixels": pixels}, logits, name=name)

"""Heads on a feature pyramid, whose layers are shared over its levels (RetinaNet, Lin et al. 2017, section 4; FCOS,
Tian et al. 2019, section 3.2; the proposals of Faster R-CNN, Ren et al. 2015, section 3.1)."""

import math
from collections.abc import Sequence

import keras

from kerastransfer.layers.scale import Scale

# The probability of an object at any place, before training.
RARE = 0.01


def retinanet(
    levels: Sequence[str],
    num_classes: int,
    anchors: int,
    *,
    channels: int = 256,
    towers: int = 4,
    name: str = "head",
) -> keras.Model:
    """From {"p3": (B, h, w, channels), ...} to {"p3_classes": (B, h, w, anchors * num_classes), "p3_boxes": (B, h, w,
    anchors * 4), ...}: for classes and for boxes a tower of `towers` 3 x 3 convolutions with ReLU, then another one."""
    outputs = {"classes": (anchors * num_classes, "classes"), "boxes": (anchors * 4, "boxes")}
    return _head(levels, outputs, channels, towers, name)


def fcos(
    levels: Sequence[str],
    num_classes: int,
    *,
    channels: int = 256,
    towers: int = 4,
    centerness: str = "classes",
    name: str = "head",
) -> keras.Model:
    """From {"p3": (B, h, w, channels), ...} to {"p3_classes": (B, h, w, num_classes), "p3_boxes": (B, h, w, 4),
    "p3_centerness": (B, h, w, 1), ...}. The towers have group normalization, in 32 groups or in as many as divide
    `channels`. Boxes are multiplied by a number that each level learns.

    centerness: the tower that it is predicted from, "classes" or "boxes".
    """
    outputs = {"classes": (num_classes, "classes"), "boxes": (4, "boxes"), "centerness": (1, centerness)}
    return _head(levels, outputs, channels, towers, name, groups=math.gcd(32, channels), scaled=("boxes",))


def proposals(levels: Sequence[str], anchors: int, *, channels: int = 256, name: str = "head") -> keras.Model:
    """From {"p2": (B, h, w, channels), ...} to {"p2_classes": (B, h, w, anchors), "p2_boxes": (B, h, w, anchors * 4),
    ...}: a 3 x 3 convolution with ReLU, then whether an anchor has an object, and which box, each by a 1 x 1 one."""
    outputs = {"classes": (anchors, "shared"), "boxes": (anchors * 4, "shared")}
    return _head(levels, outputs, channels, 1, name, kernel=1, rare=False)


def _head(levels, outputs, channels, towers, name, *, groups=0, scaled=(), kernel=3, rare=True):
    """outputs: {name: (channels, name of the tower)}."""
    maps = {level: keras.Input((None, None, channels), name=level) for level in levels}
    built = {tower: _tower(tower, channels, towers, groups) for _, tower in outputs.values()}
    features = {tower: {level: _through(layers, x) for level, x in maps.items()} for tower, layers in built.items()}
    found = {}
    for output, (count, tower) in outputs.items():
        logit = keras.initializers.Constant(-math.log((1 - RARE) / RARE))
        bias = logit if rare and output == "classes" else "zeros"
        # Raw predictions are float32.
        last = _convolution(count, output, kernel=kernel, bias_initializer=bias, dtype="float32")
        for level, x in features[tower].items():
            x = last(x)
            found[f"{level}_{output}"] = Scale(name=f"{level}_{output}_scale")(x) if output in scaled else x
    return keras.Model(maps, found, name=name)


def _tower(name, channels, depth, groups):
    layers = []
    for number in range(1, depth + 1):
        layers.append(_convolution(channels, f"{name}_{number}"))
        if groups:
            norm = keras.layers.GroupNormalization(groups, epsilon=1e-5, name=f"{name}_{number}_norm")
            layers.append(norm)
        layers.append(keras.layers.ReLU(name=f"{name}_{number}_relu"))
    return layers


def _through(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def _convolution(filters, name, *, kernel=3, **options):
    start = keras.initializers.RandomNormal(stddev=0.01)
    return keras.layers.Conv2D(filters, kernel, padding="same", kernel_initializer=start, name=name, **options)

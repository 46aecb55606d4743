"""Feature pyramids (FPN, Lin et al. 2017; RetinaNet, Lin et al. 2017, section 4)."""

from collections.abc import Mapping
from typing import Literal

import keras

from kerastransfer.errors import UserError
from kerastransfer.layers.blocks import pad

Extra = Literal["encoder", "pyramid", "pool"]


def fpn(
    channels: Mapping[str, int],
    strides: Mapping[str, int],
    *,
    filters: int = 256,
    first: int = 3,
    extra: Extra = "encoder",
    name: str = "decoder",
) -> keras.Model:
    """From the taps of strides 2 ** first .. 32 to {"p3": (B, H / 8, W / 8, filters), ..., "p7"}: a level is named by
    the base-2 logarithm of its stride. The sides of the image are multiples of 32; those of coarser maps are rounded
    up.

    channels, strides: of the encoder's taps. Of several taps with one stride, the last is read.
    extra: what the levels beyond 5 are made from: "encoder", p6 by a convolution of stride 2 from the last tap and p7
        from p6 (RetinaNet); "pyramid", p6 from p5 instead (FCOS); "pool", p6 alone, every other place of p5 (Faster
        R-CNN).
    All convolutions have a bias and neither normalization nor activation, but for a ReLU before that of p7.
    Raises UserError if the encoder has no tap of one of the strides.
    """
    levels = range(first, 6)
    read = {level: tap for tap, stride in strides.items() for level in levels if stride == 2**level}
    if missing := [2**level for level in levels if level not in read]:
        has = ", ".join(f"{tap} of stride {stride}" for tap, stride in strides.items())
        wanted = " and ".join(map(str, missing))
        raise UserError(f"a feature pyramid reads a map of stride {wanted}; the encoder has {has}; choose another one")
    inputs = {read[level]: keras.Input((None, None, channels[read[level]]), name=read[level]) for level in levels}

    sums = {level: _convolution(filters, 1, name=f"lateral_{level}")(inputs[read[level]]) for level in levels}
    for level in reversed(levels[:-1]):
        above = keras.layers.UpSampling2D(2, name=f"up_{level + 1}")(sums[level + 1])
        sums[level] = keras.layers.Add(name=f"sum_{level}")([sums[level], above])
    maps = {f"p{level}": _convolution(filters, 3, padding="same", name=f"p{level}")(x) for level, x in sums.items()}
    if extra == "pool":
        maps["p6"] = keras.layers.MaxPooling2D(1, 2, name="p6")(maps["p5"])
    else:
        maps["p6"] = _halved(inputs[read[5]] if extra == "encoder" else maps["p5"], filters, "p6")
        maps["p7"] = _halved(keras.layers.ReLU(name="p6_relu")(maps["p6"]), filters, "p7")
    return keras.Model(inputs, maps, name=name)


def _convolution(filters, kernel, **options):
    """Kaiming's uniform initialisation with a = 1, as in LabelEnc's code."""
    start = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")
    return keras.layers.Conv2D(filters, kernel, kernel_initializer=start, **options)


def _halved(x, filters, name):
    return _convolution(filters, 3, strides=2, name=name)(pad(x, 1, name))

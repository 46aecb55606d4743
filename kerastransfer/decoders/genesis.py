"""The decoder of the 3-D U-Net of Models Genesis (Zhou et al. 2019)."""

from collections.abc import Mapping

import keras

from kerastransfer.layers.blocks import volume_conv


def genesis_decoder(channels: Mapping[str, int], *, name: str = "decoder") -> keras.Model:
    """From taps {"c1".."c4"}, each half as long, high and wide as the one before it, to {"voxels": (B, D, H, W, C)}.

    A step doubles the sides by repeating voxels, appends the tap of that size, and has two 3 x 3 x 3 convolutions as
    wide as that tap. channels: of the encoder's taps, in order; C is that of the first.
    """
    inputs = {tap: keras.Input((None, None, None, width), name=tap) for tap, width in channels.items()}
    *others, deepest = inputs
    x = inputs[deepest]
    for step, tap in enumerate(reversed(others), start=1):
        x = keras.layers.UpSampling3D(2, name=f"up{step}")(x)
        x = keras.layers.Concatenate(name=f"join{step}")([x, inputs[tap]])
        for number in (1, 2):
            x = volume_conv(x, channels[tap], name=f"step{step}_{number}")
    return keras.Model(inputs, {"voxels": x}, name=name)

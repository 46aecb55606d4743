"""The decoder of a U-Net (Ronneberger et al. 2015), as in Dippel et al. 2022, section 2.3."""

from collections.abc import Mapping, Sequence

import keras

from kerastransfer.layers.blocks import double_conv, unet_conv

# Of the widest step, whatever the encoder.
WIDEST = 256


def unet(
    channels: Mapping[str, int],
    strides: Mapping[str, int],
    *,
    widths: Sequence[int] | None = None,
    name: str = "decoder",
) -> keras.Model:
    """From taps {"c1".."c4"} to {"pixels": (B, H, W, widths[-1])}, and to "joined", what its last convolutions read.

    A step doubles the sides by repeating pixels, appends the tap of that size behind a 1 x 1 convolution as wide as the
    step, and has two 3 x 3 convolutions; all have bias, batch normalization and ReLU. The 1 x 1 convolutions belong to
    the decoder, so they are transferred with it and not with the encoder.

    channels, strides: of the encoder's taps. Of several taps with one stride, the last is read; a step without a tap
    goes on without one. widths: of the steps, from the deepest; by default half the channels of the deepest tap (256 at
    most), and half of it again at each step, 8 at least: 256, 128, 64 on the encoder `unet_encoder()`, with 3,186,624
    trainable parameters.
    """
    read = {stride: tap for tap, stride in strides.items()}
    stride = max(read)
    inputs = {tap: keras.Input((None, None, channels[tap]), name=tap) for tap in sorted(read.values())}
    widths = widths or _widths(channels[read[stride]], stride.bit_length() - 1)
    if len(widths) != stride.bit_length() - 1:
        raise ValueError(f"got {len(widths)} widths for {stride.bit_length() - 1} steps up; give one for each")
    x = joined = inputs[read[stride]]
    for step, filters in enumerate(widths, start=1):
        stride //= 2
        joined = keras.layers.UpSampling2D(2, name=f"up{step}")(x)
        if stride in read:
            skip = unet_conv(inputs[read[stride]], filters, 1, name=f"skip{step}")
            joined = keras.layers.Concatenate(name=f"join{step}")([joined, skip])
        x = double_conv(joined, filters, name=f"step{step}")
    return keras.Model(inputs, {"pixels": x, "joined": joined}, name=name)


def _widths(deepest, steps):
    return [max(8, min(WIDEST, deepest // 2) // 2**step) for step in range(steps)]

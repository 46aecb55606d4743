"""The decoder of YoloUNet, in which each upsampling step is followed by the tap of its size (ElSedfy 2025, section
III-D)."""

from collections.abc import Mapping, Sequence

import keras

from kerastransfer.decoders.widths import in_proportion, last
from kerastransfer.layers.blocks import up

# For an encoder whose last tap has 1024 channels.
WIDTHS = (512, 512, 256, 128, 64, 32)


def unet(
    channels: Mapping[str, int],
    strides: Mapping[str, int],
    *,
    widths: Sequence[int] | None = None,
    name: str = "decoder",
) -> keras.Model:
    """From taps {"c1".."c5"} to {"pixels": (B, H, W, widths[-1])}.

    channels, strides: those of the encoder's taps. Concatenation is [decoder, skip], and is directly followed by the
    next transposed convolution. Taps with the same stride are concatenated together, the last first. widths: by default
    WIDTHS, in proportion to the channels of the last tap. For a smaller stride only the last widths are used.
    """
    inputs = {tap: keras.Input((None, None, channels[tap]), name=tap) for tap in strides}
    skips = {stride: [inputs[tap] for tap in strides if strides[tap] == stride][::-1] for stride in strides.values()}
    stride = max(skips)
    x = _joined(skips[stride], "taps")
    widths = widths or in_proportion(WIDTHS, skips[stride][0].shape[-1])
    steps = stride.bit_length() - 1
    for step, filters in enumerate(last(widths, steps), start=1):
        x = up(x, filters, name=f"up{step}")
        stride //= 2
        x = _joined([x, *skips.get(stride, [])], f"skip{step}")
    return keras.Model(inputs, {"pixels": x}, name=name)


def _joined(maps, name):
    return keras.layers.Concatenate(name=name)(maps) if len(maps) > 1 else maps[0]

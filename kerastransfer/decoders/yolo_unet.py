"""The decoder of YoloUNet: every step up is followed by the tap of its size (YOLO encoder transfer,
ElSedfy 2025, section III)."""

from collections.abc import Mapping, Sequence

import keras

from kerastransfer.decoders.widths import in_proportion, last
from kerastransfer.layers.blocks import up

WIDTHS = (512, 512, 256, 128, 64, 32)  # on an encoder whose last tap has 1024 channels


def unet(
    channels: Mapping[str, int],
    strides: Mapping[str, int],
    *,
    widths: Sequence[int] | None = None,
    name: str = "decoder",
) -> keras.Model:
    """Taps {"c1".."c5"} to {"pixels": (B, H, W, widths[-1])}.

    channels, strides: of the encoder's taps. Concatenation is [decoder, skip]; after it comes the next transposed
    convolution and no other. Taps of one stride come in together, the last first. widths: by default WIDTHS, in
    proportion to the last tap's channels. A tap of smaller total stride takes the last of them.
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

"""The decoder of YoloSegNet, which upsamples only the last tap (ElSedfy 2025, section III-C)."""

from collections.abc import Mapping, Sequence

import keras

from kerastransfer.decoders.widths import in_proportion, last
from kerastransfer.layers.blocks import up

# For an encoder whose last tap has 1024 channels.
WIDTHS = (512, 256, 128, 64, 32)


def segnet(
    channels: Mapping[str, int],
    strides: Mapping[str, int],
    *,
    widths: Sequence[int] | None = None,
    name: str = "decoder",
) -> keras.Model:
    """From {"c5": (B, H / s, W / s, D)} to {"pixels": (B, H / 2, W / 2, widths[-1])}; the head does the last upsampling
    step.

    channels, strides: those of the encoder's taps. widths: by default WIDTHS, in proportion to the channels of the last
    tap. For a smaller stride only the last widths are used.
    """
    tap = deepest(strides)
    widths = widths or in_proportion(WIDTHS, channels[tap])
    # The head does one of the steps.
    steps = strides[tap].bit_length() - 2
    features = keras.Input((None, None, channels[tap]), name=tap)
    x = features
    for step, filters in enumerate(last(widths, steps), start=1):
        x = up(x, filters, name=f"up{step}")
    return keras.Model({tap: features}, {"pixels": x}, name=name)


def deepest(strides: Mapping[str, int]) -> str:
    """The tap with the largest stride; of several such taps, the last."""
    return max(reversed(strides), key=strides.get)

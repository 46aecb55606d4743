"""The decoder of YoloSegNet: up from the last tap alone (spec/01 section 7)."""

from collections.abc import Mapping, Sequence

import keras

from kerastransfer.layers.blocks import up

WIDTHS = (512, 256, 128, 64, 32)  # on an encoder whose last tap has 1024 channels


def segnet(
    channels: Mapping[str, int],
    strides: Mapping[str, int],
    *,
    widths: Sequence[int] | None = None,
    name: str = "decoder",
) -> keras.Model:
    """{"c5": (B, H / s, W / s, D)} to {"pixels": (B, H / 2, W / 2, widths[-1])}; the head makes the last step up.

    channels, strides: of the encoder's taps. widths: by default WIDTHS, in proportion to the last tap's channels. A
    tap of smaller stride takes the last of them.
    """
    tap = max(reversed(strides), key=strides.get)  # of several of the largest stride the deepest
    widths = widths or in_proportion(WIDTHS, channels[tap])
    steps = strides[tap].bit_length() - 2  # one of the steps is the head's
    features = keras.Input((None, None, channels[tap]), name=tap)
    x = features
    for step, filters in enumerate(last(widths, steps), start=1):
        x = up(x, filters, name=f"up{step}")
    return keras.Model({tap: features}, {"pixels": x}, name=name)


def in_proportion(widths: Sequence[int], channels: int) -> list[int]:
    """Widths for an encoder whose last tap has `channels` where they were made for one of 1024; at least 8 each."""
    return [max(8, width * channels // 1024) for width in widths]


def last(widths: Sequence[int], steps: int) -> Sequence[int]:
    """The widths of the last steps up. Raises ValueError when there are fewer widths than steps."""
    if steps > len(widths):
        raise ValueError(f"{len(widths)} widths came for {steps} steps up: give one for each")
    return widths[len(widths) - steps :]

"""The decoder of YoloSegNet: up from the last tap alone (YOLO encoder transfer, ElSedfy 2025, section III)."""

from collections.abc import Mapping, Sequence

import keras

from kerastransfer.decoders.widths import in_proportion, last
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
    tap = deepest(strides)
    widths = widths or in_proportion(WIDTHS, channels[tap])
    steps = strides[tap].bit_length() - 2  # one of the steps is the head's
    features = keras.Input((None, None, channels[tap]), name=tap)
    x = features
    for step, filters in enumerate(last(widths, steps), start=1):
        x = up(x, filters, name=f"up{step}")
    return keras.Model({tap: features}, {"pixels": x}, name=name)


def deepest(strides: Mapping[str, int]) -> str:
    """The tap of the largest stride; of several such taps the last."""
    return max(reversed(strides), key=strides.get)

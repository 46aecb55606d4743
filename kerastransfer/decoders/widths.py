"""Widths of decoders that were published for one encoder, for use on others."""

from collections.abc import Sequence


def in_proportion(widths: Sequence[int], channels: int) -> list[int]:
    """Widths for an encoder whose last tap has `channels`, from widths for 1024 channels; each is at least 8."""
    return [max(8, width * channels // 1024) for width in widths]


def last(widths: Sequence[int], steps: int) -> Sequence[int]:
    """The widths of the last upsampling steps. Raises ValueError if there are fewer widths than steps."""
    if steps > len(widths):
        raise ValueError(f"got {len(widths)} widths for {steps} steps up; give one for each")
    return widths[len(widths) - steps :]

"""Widths of decoders that were published for one encoder and are used on others."""

from collections.abc import Sequence


def in_proportion(widths: Sequence[int], channels: int) -> list[int]:
    """Widths for an encoder whose last tap has `channels`, where they were made for one of 1024; at least 8 each."""
    return [max(8, width * channels // 1024) for width in widths]


def last(widths: Sequence[int], steps: int) -> Sequence[int]:
    """The widths of the last steps up. Raises ValueError when there are fewer widths than steps."""
    if steps > len(widths):
        raise ValueError(f"got {len(widths)} widths for {steps} steps up; give one for each")
    return widths[len(widths) - steps :]

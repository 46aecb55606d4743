"""Text as it can be drawn and printed: a font that has its letters, and no control codes."""

import functools
from pathlib import Path

# In a picture with no more boxes than this, each has its caption.
FEW_BOXES = 12


def captioned(boxes: int, width: float, caption: float) -> bool:
    """Whether a box of `width` pixels, of so many `boxes` in a picture, has its caption of so many pixels: captions of
    many small boxes would hide them, so there only those are written that are no wider than their box."""
    return boxes <= FEW_BOXES or caption <= width


def printed(text: str) -> str:
    """`text` in one line: line breaks, control codes and what else a terminal does not print are escaped."""
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text))


def drawn(text: str, size: int):
    """(text, Pillow font of `size` pixels) for drawing. The font is DejaVu Sans, which comes with Matplotlib, or a font
    of this machine that has letters which DejaVu lacks; letters that no font has become code points (\\u4eba)."""
    from PIL import ImageFont

    text = printed(text)
    path = _path(frozenset(text))
    return _lettered(text, path), ImageFont.truetype(path, size)


def charted(text: str) -> str:
    """`text`, of one or several lines, for Matplotlib: letters that DejaVu Sans lacks become code points."""
    return "\n".join(_lettered(printed(line), _dejavu()) for line in str(text).split("\n"))


def _escaped(letter):
    return letter.encode("unicode_escape").decode()


def _lettered(text, path):
    there = _letters(path)
    return "".join(letter if ord(letter) in there else _escaped(letter) for letter in text)


@functools.cache
def _dejavu() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@functools.lru_cache(64)
def _letters(path: str) -> frozenset[int]:
    """The code points that a font has; none for a file that is no font."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@functools.lru_cache(1024)
def _path(letters: frozenset[str]) -> str:
    """DejaVu Sans if it has the letters, or else the first font of this machine that has most of them."""
    needed = {ord(letter) for letter in letters}
    if needed <= _letters(_dejavu()):
        return _dejavu()
    from matplotlib import font_manager

    # Fonts in a fixed order, so that the same machine draws the same pictures.
    there = [_dejavu(), *sorted(font_manager.findSystemFonts(), key=lambda path: ("Regular" not in path, path))]
    return max(there, key=lambda path: len(needed & _letters(path)))

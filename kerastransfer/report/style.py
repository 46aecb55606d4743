"""The style of all figures: colours that colour-blind readers can distinguish, one font, few lines."""

import colorsys
import functools
import io
import os
from collections.abc import Callable

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from kerastransfer import files

# The colours of Okabe and Ito 2008, in an order in which neighbours differ clearly.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442")
# GREY is readable on white and on black.
INK, GREY, FAINT = "#24292f", "#7a7f87", "#d5d8dc"

STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": GREY,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.6,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 180,
    # The name of a class may contain "$".
    "text.parse_math": False,
}


def colour(index: int) -> str:
    """The colour of the index-th model or class, as #rrggbb; after the palette, hues in steps of the golden ratio."""
    if index < len(PALETTE):
        return PALETTE[index]
    parts = colorsys.hls_to_rgb(index * 0.618034 % 1, 0.45 + 0.2 * (index % 2), 0.65)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """A decorator for functions that draw a figure: applies this style without changing Matplotlib's settings."""

    @functools.wraps(draw)
    def drawn(*args, **options):
        with matplotlib.rc_context(STYLE):
            return draw(*args, **options)

    return drawn


def png(picture: Figure | Image.Image) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    if isinstance(picture, Image.Image):
        picture.save(file, "PNG")
    else:
        with matplotlib.rc_context(STYLE):
            picture.savefig(file, format="png", bbox_inches="tight", pad_inches=0.12)
    return file.getvalue()


def save(picture: Figure | Image.Image, path: str | os.PathLike) -> None:
    """Write a PNG file atomically."""
    data = png(picture)
    with files.replacing(path) as temporary:
        temporary.write_bytes(data)

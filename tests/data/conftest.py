"""Drawn files for miniature data sets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def draw(path: Path, pixels=(20, 30), palette: bool = False) -> Path:
    """Write an array, or noise of a size (H, W), as the image format of the suffix."""
    if isinstance(pixels, tuple):
        pixels = np.random.default_rng(0).integers(0, 256, (*pixels, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([k % 256 for k in range(7, 7 + 768)])
    image.save(path)
    return path


@pytest.fixture(name="draw", scope="session")
def draw_fixture():
    return draw

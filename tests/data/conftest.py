"""Drawn files for miniature data sets, and crops of masks put back."""

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


def paste(crop, frame, size):
    """Where a crop's mask is in a picture (H, W): its cells interpolated at the centres of pixels, the half of FULL on.
    A frame turned inside out mirrors."""

    def weights(near, far, pixels):
        cells = len(crop)
        place = ((np.arange(pixels) + 0.5) / pixels - near) / (far - near) * cells - 0.5
        inside = (place >= -0.5) & (place <= cells - 0.5)
        return inside[:, None] * np.maximum(0, 1 - np.abs(np.clip(place, 0, cells - 1)[:, None] - np.arange(cells)))

    y1, x1, y2, x2 = frame
    return weights(y1, y2, size[0]) @ (crop / 255) @ weights(x1, x2, size[1]).T >= 0.5


@pytest.fixture(name="paste", scope="session")
def paste_fixture():
    return paste

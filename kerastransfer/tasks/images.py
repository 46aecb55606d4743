"""Reads photos from a file or from Pillow as RGB, turned upright by their EXIF orientation."""

import os
from pathlib import Path

import numpy as np
import PIL.Image

from kerastransfer.data.dataset import BadSampleError
from kerastransfer.data.images import orientation, read_photo, rgb, upright
from kerastransfer.errors import UserError


def read(path: str | os.PathLike) -> np.ndarray:
    """The photo (H, W, 3) uint8 RGB. Raises UserError for a file that is missing or cannot be decoded."""
    try:
        return upright(*read_photo(Path(path)))
    except BadSampleError as error:
        raise UserError(f"{path}: {error}; give a photo that can be opened") from error


def converted(picture: PIL.Image.Image) -> np.ndarray:
    """A Pillow image as (H, W, 3) uint8 RGB, equal to `read` of its file. Raises UserError for 32 bits per pixel."""
    try:
        return upright(rgb(picture), orientation(picture))
    except BadSampleError as error:
        raise UserError(f"a picture of mode {picture.mode} has {error}") from error

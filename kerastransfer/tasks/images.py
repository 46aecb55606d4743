"""Photos as people take them; what annotations refer to is read by `data.images`."""

import os
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from kerastransfer.data.dataset import BadSampleError
from kerastransfer.data.images import read_image
from kerastransfer.errors import UserError

ORIENTATION = 0x0112  # the EXIF tag


def read(path: str | os.PathLike) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB, the right way up by its EXIF orientation. Raises UserError if there is none."""
    try:
        stored = PIL.Image.fromarray(read_image(Path(path)))
    except BadSampleError as error:
        raise UserError(f"{path}: {error}; give a photo that can be opened") from error
    with PIL.Image.open(path) as file:
        stored.getexif()[ORIENTATION] = file.getexif().get(ORIENTATION, 1)
    return np.asarray(PIL.ImageOps.exif_transpose(stored))

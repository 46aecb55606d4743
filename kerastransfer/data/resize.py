"""Images, maps and scores at another size."""

import numpy as np
from PIL import Image


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 stretched to size (height, width), bilinear with antialiasing. Training, scoring and exported
    files all come through here, so that they see the same pixels."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_scores(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) numbers stretched to size, bilinear, as float32."""
    picture = Image.fromarray(np.ascontiguousarray(scores, np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_map(segmentation: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) classes stretched to size by the nearest pixel."""
    return np.asarray(Image.fromarray(segmentation).resize((size[1], size[0]), Image.Resampling.NEAREST))

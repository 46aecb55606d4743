"""How an image stands in a picture of another size: stretched over it, or letterboxed, as Darknet does.

Window and offsets are those of Darknet's letterbox_image (src/image.c), the pixels are not: the image goes through
`resize_image`, bilinear with antialiasing, where Darknet interpolates between corners without it.
"""

import dataclasses

import numpy as np

from kerastransfer.data.resize import resize_image, resize_map
from kerastransfer.vocabulary import GREY, VOID

RESIZES = ("stretch", "letterbox")


@dataclasses.dataclass(frozen=True)
class Placement:
    """The image fills the window (top, left, bottom, right), in pixels, of a picture of `size` (H, W)."""

    size: tuple[int, int]
    window: tuple[int, int, int, int]

    def image(self, image: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 to the picture (H, W, 3), grey around the window."""
        return self._framed(resize_image(image, self._inner), GREY)

    def segmentation(self, classes: np.ndarray) -> np.ndarray:
        """(h, w) uint8 to the picture's (H, W), VOID around the window."""
        return self._framed(resize_map(classes, self._inner), VOID)

    def to_picture(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4), fractions of the image, as fractions of the picture, float32."""
        near, extent = self._fractions
        return (boxes * extent + near).astype(np.float32)

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """The inverse: a box that leaves the window leaves 0..1."""
        near, extent = self._fractions
        return ((boxes - near) / extent).astype(np.float32)

    def cut(self, values: np.ndarray) -> np.ndarray:
        """What a model says of the picture (h, w, K), at any resolution, in the window alone."""
        scale = np.tile(np.divide(values.shape[:2], self.size), 2)
        top, left, bottom, right = np.round(self.window * scale).astype(int)
        return values[top : max(bottom, top + 1), left : max(right, left + 1)]

    @property
    def _inner(self):
        top, left, bottom, right = self.window
        return bottom - top, right - left

    @property
    def _fractions(self):
        """The window's near corner and its extent, twice, as fractions of the picture."""
        size = np.tile(self.size, 2)
        return np.tile(self.window[:2], 2) / size, np.tile(self._inner, 2) / size

    def _framed(self, inner, value):
        if inner.shape[:2] == self.size:
            return inner
        top, left, bottom, right = self.window
        picture = np.full((*self.size, *inner.shape[2:]), value, inner.dtype)
        picture[top:bottom, left:right] = inner
        return picture


def placement(image_size: tuple[int, int], size: tuple[int, int], resize: str = "stretch") -> Placement:
    """Of an image of image_size (h, w) in a picture of `size` (H, W).

    resize: "stretch" fills the picture; "letterbox" keeps the aspect: the side that reaches its end first fills it,
        the other is scaled alike, cut to whole pixels (but at least one), and centred to whole pixels.
    """
    (h, w), (height, width) = image_size, size
    if resize not in RESIZES:
        raise ValueError(f"resize {resize!r}: choose from {RESIZES}")
    if resize == "stretch":
        return Placement((height, width), (0, 0, height, width))
    inner = (max(1, h * width // w), width) if width * h < height * w else (height, max(1, w * height // h))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    return Placement((height, width), (top, left, top + inner[0], left + inner[1]))

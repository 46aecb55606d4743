"""Image files and Pillow's pictures to arrays: decoded by content, whatever the suffix says.

Training, scoring and prediction read photos through `rgb`; export/python/predict.py repeats it.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kerastransfer.data.dataset import BadSampleError, remark

# The tag in EXIF.
ORIENTATION = 0x0112
# A file, or its encoded content.
Source = Path | bytes
# Pillow's own limit. Beyond it a small file may unpack to gigabytes.
LARGEST_PIXELS = 89_478_485
# Modes whose pixels have colours, or greys, of 8 bits.
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")


class ColouredMaskError(BadSampleError):
    """A mask has colours where indices are needed."""


def read_image(source: Source) -> np.ndarray:
    """Image (H, W, 3) uint8, RGB, of any format, mode and size that Pillow reads.

    As `rgb`; of an animation the first frame. The pixels are as they are stored: see `orientation`. Raises
    BadSampleError with the reason when there is no such image or it cannot be decoded.
    """
    return read_photo(source)[0]


def read_photo(source: Source) -> tuple[np.ndarray, int]:
    """`read_image`, and the photo's `orientation`."""
    # In this order: Pillow turns a TIFF when it decodes it, and then says that it need not be turned.
    return _decoded(source, "image", lambda image: (rgb(image), orientation(image)))


def read_mask(source: Source, size: tuple[int, int] | None = None) -> np.ndarray:
    """Mask (H, W), uint8 or uint16: the stored value of each pixel; a palette gives its indices, not its colours.

    A colour image passes where its channels are equal. Raises BadSampleError, also when `size` (H, W) is given and
    the mask has another.
    """
    mask = _decoded(source, "mask", _indices)
    _check_size(mask, size)
    return mask


def read_colours(source: Source, size: tuple[int, int] | None = None) -> np.ndarray:
    """Mask (H, W, 3) uint8, RGB: the colour of each pixel, of a palette too. Raises BadSampleError as `read_mask`."""

    def colours(image: Image.Image) -> np.ndarray:
        if image.mode not in _EIGHT_BITS:
            raise BadSampleError(f"it has the mode {image.mode} where colours of 8 bits are needed")
        return rgb(image)

    mask = _decoded(source, "mask", colours)
    _check_size(mask, size)
    return mask


def has_colours(source: Source) -> bool:
    """Whether a mask is stored as colours: with three channels, or with a palette that is not grey. What JPEG stores
    with three equal channels is grey. Raises BadSampleError."""

    def coloured(image: Image.Image) -> bool:
        if image.mode in ("RGB", "RGBA") and image.format != "JPEG":
            return True
        return image.mode in ("RGB", "P", "PA") and bool(np.ptp(rgb(image), axis=-1).any())

    return _decoded(source, "mask", coloured)


def has_palette(source: Source) -> bool:
    """Whether a mask stores indices, and the colour of each. Raises BadSampleError."""
    return _decoded(source, "mask", lambda image: image.mode in ("P", "PA"))


def read_opaque(source: Source) -> np.ndarray:
    """Mask (H, W) bool of a picture: where it is not transparent, or in one without transparency, not black. Raises
    BadSampleError."""

    def opaque(image: Image.Image) -> np.ndarray:
        if "A" in image.mode or "transparency" in image.info:
            return np.asarray(image.convert("RGBA"))[..., 3] > 0
        return np.asarray(image.convert("L")) > 0

    return _decoded(source, "mask", opaque)


def read_header(source: Source) -> tuple[tuple[int, int], int]:
    """(H, W) of the image that `read_photo` gives, and the same orientation, without decoding pixels."""

    def described(image: Image.Image) -> tuple[tuple[int, int], int]:
        # Pillow says of a TIFF the size that it has once it is turned; of a PNG it decodes all pixels to see whether
        # there is EXIF behind them.
        known = image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info and not _trailing(source))
        return (image.height, image.width), 1 if known else orientation(image)

    return _decoded(source, "image", described)


def _trailing(source: Source) -> bool:
    """Whether a PNG has, or may have, metadata behind its pixels."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        file.seek(8)
        pixels = False
        while len(head := file.read(8)) == 8:
            kind = head[4:]
            if pixels and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(int.from_bytes(head[:4]) + 4, io.SEEK_CUR)
    return False


def rgb(image: Image.Image) -> np.ndarray:
    """A picture of any mode to (H, W, 3) uint8, RGB: transparency is dropped, grey is repeated, CMYK is converted, and
    16-bit grey keeps its upper byte. Raises BadSampleError for 32 bits a pixel."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        if 0 < values.max() < 4096:
            remark("16 bits a pixel, but no value above 4095 (12-bit data?): nearly black; scale it to 0..65535")
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise BadSampleError("32 bits a pixel; store it with 8 or 16")
    if image.mode == "P":
        # A palette may hold transparent colours.
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of a picture, from 1 to 8; 1, as it is stored, where none or a broken one is given."""
    try:
        number = image.getexif().get(ORIENTATION, 1)
    except Exception:
        # Broken EXIF raises a different type for each kind of damage.
        return 1
    return number if number in range(1, 9) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W, ...) turned and mirrored as an EXIF orientation says, which is how viewers show them."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, right = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(orientation, (1, 1))
    return np.ascontiguousarray(pixels[::down, ::right])


def _decoded(source: Source, what: str, convert: Callable[[Image.Image], Any]) -> Any:
    where = f"{what} {source.name}" if isinstance(source, Path) else what
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.width * image.height > LARGEST_PIXELS:
                raise Image.DecompressionBombError
            return convert(image)
    except BadSampleError as error:
        raise type(error)(f"{where}: {error}") from None
    except FileNotFoundError:
        raise BadSampleError(f"{where} is missing") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadSampleError(f"{where} has more than {LARGEST_PIXELS} pixels; store it smaller") from None
    except Exception as error:
        # Damaged bytes raise a different type of error in each of Pillow's decoders.
        reason = str(error).split(" <_io")[0].split(" '/")[0] or type(error).__name__
        raise BadSampleError(f"{where} cannot be decoded: {reason}") from error


def _indices(image: Image.Image) -> np.ndarray:
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    values = np.array(image)
    if values.ndim == 3:
        colours = values[..., : 1 if image.mode == "LA" else 3]
        if (colours != colours[..., :1]).any():
            raise ColouredMaskError(
                "it has colours where one index per pixel is needed; store it grey or with a palette"
            )
        values = colours[..., 0]
    if values.dtype.kind not in "ui" or values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise BadSampleError("its values are not indices between 0 and 65535")
    return values if values.dtype == np.uint8 else values.astype(np.uint16)


def _check_size(mask: np.ndarray, size: tuple[int, int] | None) -> None:
    if size is not None and mask.shape[:2] != size:
        raise BadSampleError(f"mask of {_pixels(*mask.shape[:2])}, but its image has {_pixels(*size)}")


def _pixels(height: int, width: int) -> str:
    return f"{height} x {width} pixels"

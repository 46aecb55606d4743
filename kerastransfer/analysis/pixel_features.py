"""The features that a frozen encoder gives each pixel: all its taps at that place, interpolated bilinearly."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from kerastransfer.encoders import taps as encoder_taps

# Largest number in half precision.
LARGEST = float(np.finfo("float16").max)


@dataclasses.dataclass(frozen=True)
class PixelFeatures:
    """The taps {name: (N, h, w, D) float16} of N images of `size` (H, W) pixels.

    Nothing of size (N, H, W, D) is made: features are read at single pixels, and a linear function of them is computed
    on each tap at its own size, since interpolation is linear too.
    """

    maps: Mapping[str, np.ndarray]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(next(iter(self.maps.values())))

    @property
    def channels(self) -> int:
        """D, of all taps together."""
        return sum(maps.shape[-1] for maps in self.maps.values())

    def at(self, image: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Features (P, D) float32 of an image at pixels (rows, columns), (P,) each."""
        found = []
        for maps in self.maps.values():
            one = maps[image].astype(np.float32)
            (top, bottom, down), (left, right, across) = (
                _between(place, pixels, cells)
                for place, pixels, cells in zip((rows, columns), self.size, one.shape[:2], strict=True)
            )
            down, across = down[:, None], across[:, None]
            upper = one[top, left] * (1 - across) + one[top, right] * across
            lower = one[bottom, left] * (1 - across) + one[bottom, right] * across
            found.append(upper * (1 - down) + lower * down)
        return np.concatenate(found, axis=1)

    def linear(self, image: int, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """features @ weights + bias, (H, W, K) float32, at all pixels of an image. weights (D, K), bias (K,)."""
        total, start = np.broadcast_to(np.asarray(bias, np.float32), (*self.size, len(bias))).copy(), 0
        for maps in self.maps.values():
            one = maps[image].astype(np.float32)
            part = one @ weights[start : start + one.shape[-1]].astype(np.float32)
            start += one.shape[-1]
            down, across = (_matrix(pixels, cells) for pixels, cells in zip(self.size, one.shape[:2], strict=True))
            total += np.einsum("yh,hwk,xw->yxk", down, part, across, optimize=True)
        return total

    def pooled(self) -> np.ndarray:
        """Features (N, D) float32, averaged over each image."""
        return np.concatenate([maps.mean(axis=(1, 2), dtype=np.float32) for maps in self.maps.values()], axis=1)


def extracted(
    encoder: keras.Model,
    images: np.ndarray,
    *,
    finest: int = 4,
    batch_size: int = 8,
    progress: Callable[[Iterable], Iterable] = iter,
) -> PixelFeatures:
    """The taps of images (N, H, W, 3) uint8, whose sides are multiples of the encoder's strides, in inference mode.

    finest: taps of a smaller stride are averaged over squares to this one, which keeps memory small: at 4, a few MB for
        an image of 224 x 224 pixels.
    """
    strides, outputs = encoder_taps.strides(encoder), {}
    for name, maps in encoder_taps.taps(encoder).items():
        factor = max(1, finest // strides[name])
        outputs[name] = maps if factor == 1 else keras.layers.AveragePooling2D(factor, dtype="float32")(maps)
    part = keras.Model(encoder.input, outputs)
    found: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
    # Every batch has the same size, so that the graph is compiled once.
    for start in progress(range(0, len(images), batch_size)):
        batch = images[start : start + batch_size]
        padded = np.concatenate([batch, np.repeat(batch[-1:], batch_size - len(batch), axis=0)])
        for name, values in part.predict_on_batch(padded.astype(np.float32)).items():
            values = np.asarray(values, np.float32)[: len(batch)]
            # Features of random weights may be anything.
            found[name].append(np.clip(values, -LARGEST, LARGEST).astype(np.float16))
    return PixelFeatures({name: np.concatenate(values) for name, values in found.items()}, images.shape[1:3])


def _between(places, pixels, cells):
    """Cells before and after each place (pixel centres), and how far it is from the first to the second; at the edges
    both are the same."""
    exact = np.clip((np.asarray(places) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    first = np.floor(exact).astype(int)
    return first, np.minimum(first + 1, cells - 1), (exact - first).astype(np.float32)


def _matrix(pixels, cells):
    """(pixels, cells): bilinear interpolation along one axis."""
    first, second, share = _between(np.arange(pixels), pixels, cells)
    matrix = np.zeros((pixels, cells), np.float32)
    np.add.at(matrix, (np.arange(pixels), first), 1 - share)
    np.add.at(matrix, (np.arange(pixels), second), share)
    return matrix

"""Evaluates a detector at every few pixels of a photo: where objects have their centres, and what their boxes cover."""

import dataclasses
import os
from collections.abc import Callable, Iterable

import keras
import numpy as np
import PIL.Image
from scipy import ndimage

from kerastransfer.data.resize import resize_image
from kerastransfer.data.tiles import Tiles
from kerastransfer.export.predictor import as_array
from kerastransfer.models.dense import Vote, receptive_radius


@dataclasses.dataclass(frozen=True)
class DenseMaps:
    """Dense maps of one photo, at its own size, (H, W, K) float32.

    objectness: the best score of the cell whose centre is at a pixel.
    votes: the sum of the scores of all boxes that cover a pixel (in the units that `Vote` documents).
    """

    objectness: np.ndarray
    votes: np.ndarray


class DensePredictor:
    """Runs a network of `models.dense.dense` on photos of any size, which are resized to the detector's image size.

    tile: side in pixels of tiles that are computed one at a time, which limits the use of memory and changes nothing
        else; 0 for no tiles.
    """

    def __init__(self, network: keras.Model, vote: Vote, tile: int = 0):
        self.network, self.vote, self.tile = network, vote, tile
        self._halo = receptive_radius(network) if tile else 0
        # On such large maps TensorFlow's own convolutions are only half as fast as XLA's.
        network.jit_compile = True

    def maps(
        self, image: np.ndarray | PIL.Image.Image | str | os.PathLike, progress: Callable[[Iterable], Iterable] = iter
    ) -> DenseMaps:
        """Both maps of a photo. progress: a function that wraps the tiles, for a progress bar."""
        image = as_array(image)
        raw = self.predictions(resize_image(image, self.vote.image_size), progress)[None]
        objectness = keras.ops.convert_to_numpy(self.vote.objectness(raw))[0]
        votes = keras.ops.convert_to_numpy(self.vote(raw))[0]
        return DenseMaps(
            self._at_pixels(objectness, image.shape[:2], self.vote.output_stride, self.vote.stride / 2),
            self._at_pixels(votes, image.shape[:2], 1, 0.5),
        )

    def predictions(self, image: np.ndarray, progress: Callable[[Iterable], Iterable] = iter) -> np.ndarray:
        """Raw predictions (H / s, W / s, C + 5 B) of `image` (H, W, 3) at its own size, tile by tile."""
        if not self.tile:
            return np.asarray(self.network.predict_on_batch(image[None].astype(np.float32)))[0]
        step = self.vote.output_stride
        whole = np.empty(self.network.compute_output_shape((1, *image.shape))[1:], np.float32)
        for rows, columns, window in progress(Tiles(image, self.tile, self._halo, step)):
            found = np.asarray(self.network.predict_on_batch(window))[0]
            there = tuple(slice(s.start // step, -(-s.stop // step)) for s in (rows, columns))
            here = tuple(slice((s.start - s.window) // step, -(-(s.stop - s.window) // step)) for s in (rows, columns))
            whole[there] = found[here]
        return whole

    def _at_pixels(self, values, size, step, middle):
        """Values (h, w, K) interpolated bilinearly at every pixel of a photo of `size`. The first value belongs to the
        place `middle` pixels from the edge of the network's image, and the next is `step` pixels further."""
        seen = self.vote.image_size
        axes = [((np.arange(n) + 0.5) * m / n - middle) / step for n, m in zip(size, seen, strict=True)]
        grid = np.meshgrid(*axes, indexing="ij")
        planes = [ndimage.map_coordinates(plane, grid, order=1, mode="nearest") for plane in np.moveaxis(values, -1, 0)]
        return np.stack(planes, axis=-1).astype(np.float32)

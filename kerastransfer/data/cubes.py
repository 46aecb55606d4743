"""Cubes of one size cut from volumes: batches to train on, the same for the same seed, and windows to predict in."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from kerastransfer.data.pipeline import ahead, at_once, rows_of_epochs
from kerastransfer.data.volumes import Volume

# From a generator and a cube, image (d, h, w) and labels (d, h, w) or None, to what the network reads and what it
# learns, arrays of that size.
View = Callable[[np.random.Generator, np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]]
Corner = tuple[int, ...]


def segmented(rng: np.random.Generator, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The view for segmentation: the image, and its labels."""
    return image, labels


def training_batches(
    volumes: Sequence[Volume],
    view: View,
    *,
    cube: tuple[int, int, int],
    batch_size: int,
    seed: int,
    shift: int = 4,
    flip: float = 0.0,
    first_epoch: int = 0,
    share: tuple[int, int] = (0, 1),
    threads: int = 0,
) -> tf.data.Dataset:
    """(inputs (B, d, h, w, 1) float32, targets (B, d, h, w)) without end, from `first_epoch` on: a cube of each volume
    in every epoch, at a place of its own.

    What is drawn is a function of (seed, epoch, place in the epoch) alone, so a run that resumes at an epoch sees what
    the undisturbed run saw. Targets are float32 or int32, as the view gives them.

    shift: a cube reaches up to so many voxels beyond the volume, where there are zeros and background.
    flip: probability that a cube is mirrored along the first axis, which is from left to right in NIfTI files.
    share: (i, n) gives the i-th of n equal parts of every batch.
    """
    part = batch_size // share[1]
    sample = volumes[0]
    none = sample.labels is None or view is not segmented
    kind = "float32" if none else "int32"

    def make(epoch, step, rows):
        cubes = []
        for place, row in enumerate(rows[share[0] * part : (share[0] + 1) * part], start=share[0] * part):
            rng = np.random.default_rng((seed, int(epoch), int(step) * batch_size + place))
            volume = volumes[row]
            corner = drawn_corner(rng, volume.image.shape, cube, shift)
            image, labels = (
                None if array is None else cut(array, corner, cube) for array in (volume.image, volume.labels)
            )
            if rng.random() < flip:
                image, labels = image[::-1], None if labels is None else labels[::-1]
            cubes.append(view(rng, image, labels))
        inputs, targets = (np.stack(arrays) for arrays in zip(*cubes, strict=True))
        return inputs[..., None].astype("float32"), targets.astype(kind)

    def batch(epoch, step, rows):
        inputs, targets = tf.numpy_function(make, [epoch, step, rows], ["float32", kind], stateful=False)
        return tf.ensure_shape(inputs, (part, *cube, 1)), tf.ensure_shape(targets, (part, *cube))

    rows = rows_of_epochs(len(volumes), batch_size, seed, first_epoch)
    return ahead(rows.map(batch, num_parallel_calls=at_once(threads), deterministic=True), threads)


def drawn_corner(rng: np.random.Generator, shape: tuple[int, ...], cube: tuple[int, ...], shift: int) -> Corner:
    """Where a cube begins that covers a volume, or lies in it, but for `shift` voxels; negative before the volume."""
    ends = (sorted((0, side - length)) for side, length in zip(shape, cube, strict=True))
    return tuple(int(rng.integers(low - shift, high + shift + 1)) for low, high in ends)


def cut(array: np.ndarray, corner: Corner, cube: tuple[int, ...]) -> np.ndarray:
    """The cube that begins at `corner`; zeros beyond the array (D, H, W)."""
    out = np.zeros(cube, array.dtype)
    inside, outside = [], []
    for begin, length, side in zip(corner, cube, array.shape, strict=True):
        first, last = max(0, begin), max(0, begin, min(side, begin + length))
        inside.append(slice(first, last))
        outside.append(slice(first - begin, last - begin))
    out[tuple(outside)] = array[tuple(inside)]
    return out


def windows(shape: tuple[int, ...], cube: tuple[int, ...]) -> Iterator[Corner]:
    """The corners of cubes that cover a volume of this shape together, each half over the next; along an axis that is
    shorter than the cube, there is one, with the volume in its middle."""
    axes = []
    for side, length in zip(shape, cube, strict=True):
        if side <= length:
            axes.append([-((length - side) // 2)])
        else:
            number = 1 + -(-2 * (side - length) // length)
            axes.append(np.linspace(0, side - length, number).round().astype(int).tolist())
    return ((d, h, w) for d in axes[0] for h in axes[1] for w in axes[2])

"""Images from which something is missing, to be restored: shuffled, painted over inside, or painted over around
windows (Models Genesis, Zhou et al. 2019; as in ConRec, Dippel et al. 2021)."""

import numpy as np
import tensorflow as tf

# Blocks of shuffled pixels, and the probability that a further one follows.
BLOCKS, FURTHER_BLOCK = 15, 0.99
# Rectangles or windows, and the probability that a further one follows.
RECTANGLES, FURTHER_RECTANGLE = 5, 0.95
# Of rectangles and windows, to the border of the image, in pixels.
BORDER = 3


def masking(images, seed, share=(0, 1)):
    """Images (B, H, W, 3) float32 in 0..255 that are each changed in one of three ways, equally often, and where
    (B, H, W) float32: 1 what was changed, 0 what was not. A `data.views.Distort`."""
    part, _ = share
    count = images.shape[0]

    def draw(images, seed):
        changed, where = np.empty_like(images), np.empty(images.shape[:3], "float32")
        for index, image in enumerate(images):
            rng = np.random.default_rng([*(int(number) & 0xFFFFFFFF for number in seed), part * count + index])
            changed[index], where[index] = masked(image, rng)
        return changed, where

    changed, where = tf.numpy_function(draw, [images, seed], [tf.float32, tf.float32], stateful=False)
    changed.set_shape(images.shape)
    where.set_shape(images.shape[:3])
    return changed, where


def masked(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A changed copy of image (H, W, 3) in 0..255, and where it was changed, (H, W) of 0 and 1: by `shuffled`,
    `painted_inside` or `painted_around`."""
    return (shuffled, painted_inside, painted_around)[rng.integers(3)](image, rng)


def shuffled(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels permuted within up to 15 blocks, whose sides are below a fifth of the image's. A block that covers another
    shows the image's own pixels again, permuted."""
    changed, where = image.copy(), np.zeros(image.shape[:2], "float32")
    for rows, columns in _places(image, rng, BLOCKS, FURTHER_BLOCK, _of_blocks, border=0):
        block = image[rows, columns].reshape(-1, image.shape[-1])
        changed[rows, columns] = rng.permutation(block).reshape(image[rows, columns].shape)
        where[rows, columns] = 1
    return changed, where


def painted_inside(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Up to 5 rectangles, each of one random colour; their sides are 0.14 to 0.2 of the image's."""
    changed, where = image.copy(), np.zeros(image.shape[:2], "float32")
    for rows, columns in _places(image, rng, RECTANGLES, FURTHER_RECTANGLE, _of_rectangles, border=BORDER):
        changed[rows, columns] = rng.uniform(0, 255, image.shape[-1])
        where[rows, columns] = 1
    return changed, where


def painted_around(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One random colour, except in 1 to 5 windows; their sides are 4/7 to 5/7 of the image's."""
    changed, where = np.empty_like(image), np.ones(image.shape[:2], "float32")
    changed[:] = rng.uniform(0, 255, image.shape[-1])
    for rows, columns in _places(image, rng, RECTANGLES, FURTHER_RECTANGLE, _of_windows, border=BORDER):
        changed[rows, columns] = image[rows, columns]
        where[rows, columns] = 0
    return changed, where


# Smallest and one more than the largest side, in pixels, along a side of the image.


def _of_blocks(side):
    return 1, side // 5


def _of_rectangles(side):
    return int(0.14 * side), int(0.2 * side)


def _of_windows(side):
    return side - 3 * side // 7 + 1, side - 2 * side // 7 + 1


def _places(image, rng, most, further, sides, *, border):
    """Slices of rows and of columns, one pair at least."""
    for number in range(most):
        if number and rng.random() >= further:
            return
        place = []
        for side in image.shape[:2]:
            low, high = sides(side)
            length = min(rng.integers(max(1, low), max(2, low + 1, high)), side - 2 * border)
            start = rng.integers(border, side - border - length + 1)
            place.append(slice(start, start + length))
        yield tuple(place)

"""Masks for training that are made from boxes: an ellipse in each, refined by the colours in and around it.

There is a histogram of colours for the object and one for its surroundings (Boykov and Jolly 2001), which are estimated
in turns with the mask, as GrabCut (Rother et al. 2004) does with mixtures. Smoothing replaces the graph cut.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.special import expit

from kerastransfer.codecs.votes import inside_boxes
from kerastransfer.vocabulary import VOID

# Longer side, in pixels, to which a box and its surroundings are reduced for the histograms.
CROP = 96
# How far the surroundings extend, as a share of the sides of the box.
AROUND = 0.25
# Number of bins of each colour channel; the histogram is smoothed over neighbouring bins.
BINS = 16
# Smallest number of pixels of a crop in the box, and around it.
FEWEST = 20
# Log odds of the shape at the centre of a box; they are below 0 outside the ellipse that touches the sides of the box.
SHAPE = 0.5
# How much steeper the shape is for the first histogram of the object, so that it is taken only from the centre.
CORE = 6.0
ROUNDS = 4
# Largest log odds from the colour of a pixel.
STRONGEST = 4.0
# In pixels of a crop: smoothing of the log odds of colours, and of the mask of neighbours.
SMOOTHING = 1.0, 1.5
# A pixel with a probability between these is void.
UNSURE = (0.35, 0.65)


def pseudo_mask(image: np.ndarray, boxes: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """From image (H, W, 3) uint8, boxes (N, 4) as fractions and their classes (from 1) to a segmentation (H, W) uint8:
    background outside all boxes, and VOID where the odds are nearly even."""
    size = image.shape[:2]
    outside = ~inside_boxes(boxes, size)
    best = np.zeros(size, np.float32)
    found = np.zeros(size, np.uint8)
    for box, value in zip(boxes, classes, strict=True):
        there, probability = in_box(image, box, outside)
        if probability.size:
            better = probability > best[there]
            found[there] = np.where(better, value, found[there])
            best[there] = np.maximum(best[there], probability)
    found[best < UNSURE[0]] = 0
    found[(best >= UNSURE[0]) & (best <= UNSURE[1])] = VOID
    return found


def in_box(image: np.ndarray, box: np.ndarray, outside: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """The pixels of a box as slices, and the probability (h, w) that each belongs to the object.

    outside: (H, W) bool, pixels that are in no box.
    """
    size = image.shape[:2]
    y1, x1, y2, x2 = np.clip(np.round(box * np.tile(size, 2)), 0, np.tile(size, 2)).astype(int)
    there = slice(y1, y2), slice(x1, x2)
    height, width = y2 - y1, x2 - x1
    if height < 2 or width < 2:
        return there, np.ones((height, width), np.float32)
    top, bottom = max(0, y1 - round(AROUND * height)), min(size[0], y2 + round(AROUND * height))
    left, right = max(0, x1 - round(AROUND * width)), min(size[1], x2 + round(AROUND * width))
    scale = min(1.0, CROP / max(bottom - top, right - left))
    small = tuple(max(2, round(side * scale)) for side in (bottom - top, right - left))

    def cut(values, filter=Image.Resampling.BILINEAR):
        return np.asarray(Image.fromarray(values[top:bottom, left:right]).resize(small[::-1], filter))

    colours = cut(image).astype(int) * BINS // 256
    around = cut(outside.astype(np.uint8), Image.Resampling.NEAREST).ravel() > 0
    y = (np.arange(small[0]) + 0.5) / small[0] * (bottom - top) + top
    x = (np.arange(small[1]) + 0.5) / small[1] * (right - left) + left
    # Objects fill the middle of their boxes and seldom the corners.
    squared = (2 * (y - (y1 + y2) / 2) / height)[:, None] ** 2 + (2 * (x - (x1 + x2) / 2) / width)[None] ** 2
    inside = ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))[None]
    mask = sharpened(colours, SHAPE * (1 - squared), inside, around.reshape(small))
    back = Image.fromarray(mask.astype(np.float32)).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    return there, np.asarray(back)[y1 - top : y2 - top, x1 - left : x2 - left]


def sharpened(colours: np.ndarray, prior: np.ndarray, inside: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Probabilities (h, w) from bins of colours (h, w, 3), prior log odds (h, w), and the pixels of the box and of its
    surroundings. If either has too few pixels for a histogram, only the prior is used."""
    probability = np.where(inside, expit(prior), 0.0)
    if min(inside.sum(), around.sum()) < FEWEST:
        return probability
    # The share of a pixel that is added to the object's histogram.
    share = np.where(inside, expit(CORE * (prior - SHAPE)), 0.0)
    for _ in range(ROUNDS):
        ours = histogram(colours[inside], share[inside])
        others = histogram(colours[inside | around], 1 - probability[inside | around])
        ratio = np.log(ours / others)[tuple(np.moveaxis(colours, -1, 0))]
        ratio = ndimage.gaussian_filter(np.clip(ratio, -STRONGEST, STRONGEST), SMOOTHING[0])
        neighbours = 4 * (ndimage.gaussian_filter(probability, SMOOTHING[1]) - 0.5)
        probability = share = np.where(inside, expit(prior + ratio + neighbours), 0.0)
    return probability


def histogram(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """From bins of pixels (n, 3) and weights (n,) to the share of each colour (BINS, BINS, BINS), which is never 0."""
    counts = np.zeros((BINS,) * 3)
    np.add.at(counts, tuple(colours.T), weights)
    return ndimage.gaussian_filter(counts, 1.0, mode="nearest") / max(weights.sum(), 1e-6) + 1e-4

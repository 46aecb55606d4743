"""The IoU of a whole test set, from the pixels of all images together, as PASCAL VOC counts it: background is a class
like any other.

Its interval is over images, which are drawn again with replacement (the percentile bootstrap, Efron and Tibshirani
1993, section 13.3). Where a class is in a few images only, draws without the largest of its objects differ much from
the whole, and the interval is rough and lopsided.
"""

from collections.abc import Iterable

import numpy as np

RESAMPLES = 1000
# Images whose counts are kept before they are added to those of all resamples.
BLOCK = 64


def counts(confusion: np.ndarray) -> np.ndarray:
    """Numbers of pixels (..., (both, truth, prediction), K) from confusion matrices (..., K, K): in a class in both, in
    the truth (rows), in the prediction (columns)."""
    return np.stack([np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1), confusion.sum(axis=-2)], -2)


def class_iou(counted: np.ndarray) -> np.ndarray:
    """IoU (..., K) of each class from `counts`; NaN for a class that is in neither truth nor prediction."""
    both, truth, prediction = np.moveaxis(np.asarray(counted, np.float64), -2, 0)
    union = truth + prediction - both
    return both / np.where(union > 0, union, np.nan)


def mean_iou(counted: np.ndarray, *, absent: float = np.nan) -> np.ndarray:
    """The mean (...) of `class_iou` over the classes. absent: the IoU of a class that is in neither truth nor
    prediction; with NaN it is left out, and the mean is NaN where there is no class at all."""
    each = class_iou(counted)
    each = np.where(np.isnan(each), absent, each)
    there = ~np.isnan(each)
    number = there.sum(axis=-1)
    return np.where(there, each, 0.0).sum(axis=-1) / np.where(number, number, np.nan)


def resampled(
    each: Iterable[np.ndarray], number: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over images: of all (S...), and of each of `resamples` draws of as many images (R, S...), from the counts
    (S...) of `number` images, given one by one. Memory grows with R and not with the number of images.

    Raises ValueError for another number of images, or for none.
    """
    if not number:
        raise ValueError("there is no image to count in")
    random = np.random.default_rng(seed)
    # How often an image is in a draw: at most a few dozen times.
    times = np.stack(
        [np.bincount(random.integers(0, number, number), minlength=number) for _ in range(resamples)]
    ).astype(np.uint16)
    drawn, whole, block, first = None, None, [], 0
    for image, one in enumerate(each):
        block.append(np.asarray(one, np.float64))
        if len(block) < BLOCK and image < number - 1:
            continue
        if image >= number:
            raise ValueError(f"there are more than the {number} images that were announced")
        values = np.stack(block)
        flat = values.reshape(len(values), -1)
        if drawn is None:
            drawn, whole, shape = np.zeros((resamples, flat.shape[1])), np.zeros(flat.shape[1]), values.shape[1:]
        drawn += times[:, first : image + 1] @ flat
        whole += flat.sum(axis=0)
        block, first = [], image + 1
    if first != number:
        raise ValueError(f"there are {first + len(block)} images; {number} were announced")
    return whole.reshape(shape), drawn.reshape(resamples, *shape)


def ends(drawn: np.ndarray, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The ends (...) of the interval that holds this share of the scores (R, ...) of resamples. NaNs are left out; an
    end is NaN where nothing is left."""
    drawn = np.asarray(drawn, np.float64)
    flat = drawn.reshape(len(drawn), -1)
    found = np.full((2, flat.shape[1]), np.nan)
    some = ~np.isnan(flat).all(axis=0)
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    found[:, some] = np.nanquantile(flat[:, some], tails, axis=0)
    low, high = found.reshape(2, *drawn.shape[1:])
    return low, high


def deviation(drawn: np.ndarray) -> np.ndarray:
    """The standard deviation (...) of scores (R, ...) over resamples. NaNs are left out; it is NaN where fewer than two
    are left."""
    there = ~np.isnan(drawn)
    number = there.sum(axis=0)
    mean = np.where(there, drawn, 0.0).sum(axis=0) / np.maximum(number, 1)
    squares = np.where(there, (drawn - mean) ** 2, 0.0).sum(axis=0)
    return np.sqrt(squares / np.where(number > 1, number - 1, np.nan))

"""Average precision as PASCAL VOC defines it (Everingham et al. 2010, section 4.2), at any IoU, in NumPy and
SciPy.

There is one mapping of arrays for each image, in the same order on both sides:

    truth       boxes (N, (y1, x1, y2, x2)), labels (N,); optionally difficult and crowd (N,) bool
    detections  boxes (M, 4), scores (M,), labels (M,), in any order

Boxes are in pixels, whose edges count from 0 and whose end is excluded. VOC's own boxes count pixels from 1 and include
the last one, and its IoU adds 1 to every side; (x1, y1, x2, y2) of VOC is (y1 - 1, x1 - 1, y2, x2) here, as
`data.layouts.voc` reads it, and of such boxes the plain IoU is the same number.

A label below 0 is padding. VOC has no crowds: they count as difficult objects.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

Arrays = Mapping[str, np.ndarray]
Method = Literal["11-point", "area", "101-point"]
# What becomes of a detection.
HIT, IGNORED, FALSE = 1, 0, -1
# Of numbers in one step over resamples, so that memory does not grow with resamples times detections.
BLOCK = 1 << 22


def average_precision(
    truths: Sequence[Arrays],
    found: Sequence[Arrays],
    num_classes: int,
    thresholds: float | Sequence[float] = 0.5,
    method: Method = "11-point",
) -> np.ndarray:
    """Average precision of each class at each IoU threshold (K, T), or (K,) for a single threshold. NaN for a class
    without an object to find; 0 where there are some and nothing was found.

    The detections of a class are taken in order of falling scores. Each is compared with the object of its class and
    image that it overlaps most, whether that object has been found before or not. It is right if their IoU is above the
    threshold (not equal) and the object has not been found; a second detection of an object is wrong. One that goes to
    a difficult object is ignored. Of equal scores the first comes first, and so of objects with an equal IoU.

    method: "11-point" (VOC until 2009): the mean over the recalls 0, 0.1, ..., 1 of the largest precision at that
        recall or a higher one; "area" (VOC since 2010): the area under that precision; "101-point": as COCO does, in
        steps of 0.01. Recalls are compared exactly, as whole numbers: 3 of 10 objects reach 0.3, which they do not
        in code that adds up 0.1 + 0.1 + 0.1.
    Raises ValueError for arrays that are missing or of other lengths, a label that is not below `num_classes`, a box or
    score that is not a number, a threshold outside [0, 1) and another method.
    """
    matches = match(truths, found, num_classes)
    wanted = np.atleast_1d(np.asarray(thresholds, np.float64))
    result = np.stack([matches.average_precision(one, method) for one in wanted.tolist()], axis=-1)
    return result if np.ndim(thresholds) else result[:, 0]


@dataclasses.dataclass(frozen=True)
class Matches:
    """The detections of all classes in order of falling scores, and which object each of them goes to.

    labels, images, iou, truths (D,): of a detection its class, the number of its image, its largest IoU with an object
        of its class there, and the number of that object among all (-1 if there is none).
    wanted (N,): which objects are to be found: those that are not difficult.
    positives (I, K): how many there are in each image of each class.
    """

    labels: np.ndarray
    images: np.ndarray
    iou: np.ndarray
    truths: np.ndarray
    wanted: np.ndarray
    positives: np.ndarray

    def outcomes(self, threshold: float) -> np.ndarray:
        """HIT, IGNORED or FALSE (D,) for each detection."""
        if not 0 <= threshold < 1:
            raise ValueError(f"an IoU threshold of {threshold:g}; give one from 0 to below 1")
        above = np.flatnonzero(self.iou > threshold)
        wanted = self.wanted[self.truths[above]]
        outcomes = np.full(len(self.iou), FALSE, np.int8)
        outcomes[above[~wanted]] = IGNORED
        candidates = above[wanted]
        _, first = np.unique(self.truths[candidates], return_index=True)
        outcomes[candidates[first]] = HIT
        return outcomes

    def average_precision(
        self, threshold: float, method: Method = "11-point", weights: np.ndarray | None = None
    ) -> np.ndarray:
        """As the function of that name: (K,), or (R, K) for weights (R, I), as in `precision`."""
        return precision(self.outcomes(threshold), self.labels, self.images, self.positives, method, weights)


def match(truths: Sequence[Arrays], found: Sequence[Arrays], num_classes: int) -> Matches:
    """What `average_precision` rests on, which is the same for all thresholds. Raises ValueError as it does."""
    everything = gathered(truths, found, num_classes)
    best, chosen = [np.zeros(0)], [np.zeros(0, np.int64)]
    before = 0
    for objects, seen in everything:
        overlap = np.where(seen.labels[:, None] == objects.labels, iou(seen.boxes, objects.boxes), -1.0)
        if len(objects.labels):
            nearest = overlap.argmax(axis=1)
            largest = overlap[np.arange(len(nearest)), nearest]
        else:
            nearest, largest = np.zeros(len(seen.labels), np.int64), np.full(len(seen.labels), -1.0)
        # An object that is not touched is none, or a threshold of 0 would take objects of other classes.
        best.append(np.maximum(largest, 0.0))
        chosen.append(np.where(largest > 0, before + nearest, -1))
        before += len(objects.labels)
    order, labels, images = ranked([seen for _, seen in everything])
    positives = np.stack(
        [np.bincount(one.labels[one.wanted], minlength=num_classes) for one, _ in everything]
        or [np.zeros(num_classes, np.int64)]
    )[: len(everything)]
    wanted = np.concatenate([np.zeros(0, bool), *(objects.wanted for objects, _ in everything)])
    return Matches(labels, images, np.concatenate(best)[order], np.concatenate(chosen)[order], wanted, positives)


def precision(
    outcomes: np.ndarray,
    labels: np.ndarray,
    images: np.ndarray,
    positives: np.ndarray,
    method: Method = "11-point",
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Average precision (K,) of detections in order of falling scores, from what became of them (D,), their classes
    (D,), the numbers of their images (D,) and the number of objects to find in each image of each class (I, K).

    weights: (R, I) whole numbers, how often each image counts, for the result (R, K) of R resamples. It is that of a
        data set in which each image is repeated so often, without matching anything again.
    """
    if method not in get_args(Method):
        raise ValueError(f"method {method!r}; choose from {', '.join(get_args(Method))}")
    given = np.ones((1, len(positives)), np.int32) if weights is None else np.asarray(weights, np.int32)
    # In floating-point numbers, which are exact here, by a faster routine than that for integers.
    totals = (given.astype(np.float64) @ positives.astype(np.float64)).astype(np.int64)
    classes = []
    for label in range(positives.shape[1]):
        which = np.flatnonzero((labels == label) & (outcomes != IGNORED))
        classes.append(_Ranking(outcomes[which] == HIT, images[which], len(positives)))
    result = np.full(totals.shape, np.nan)
    for rows in blocks(len(given), max([len(positives), *(len(ranking.images) for ranking in classes)])):
        counts = np.ascontiguousarray(given[rows].T)
        for label, ranking in enumerate(classes):
            result[rows, label] = ranking.average_precision(counts, totals[rows, label], method)
    return result[0] if weights is None else result


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of so many rows, each of about BLOCK numbers at most; none where there is no column."""
    step = max(1, BLOCK // max(columns, 1))
    yield from (slice(start, start + step) for start in range(0, rows, step) if columns)


class _Ranking:
    """The detections of a class in order of falling scores: which are right, and in which images they are."""

    def __init__(self, right: np.ndarray, images: np.ndarray, number: int):
        from scipy import sparse

        hits = np.flatnonzero(right)
        self.images = images[hits]
        # Detections up to the first right one, up to the second, and so on; what follows the last changes nothing.
        part = np.searchsorted(hits, np.arange(hits[-1] + 1 if len(hits) else 0))
        ones = np.ones(len(part), np.int32)
        self.parts = sparse.csr_array((ones, (part, images[: len(part)])), shape=(len(hits), number))

    def average_precision(self, counts: np.ndarray, totals: np.ndarray, method: Method) -> np.ndarray:
        """(R,) from how often each image counts (I, R) int32, and the number of objects (R,).

        The copies of an image stand together, and where they are counted one by one neither recall with precision
        improves on the last of them; precision is largest at a right detection.
        """
        own = counts[self.images]
        found = np.cumsum(own, axis=0)
        best = found / np.maximum(np.cumsum(self.parts @ counts, axis=0), 1)
        best = np.maximum.accumulate(best[::-1], axis=0)[::-1]
        if method == "area":
            reached = (best * own).sum(axis=0) / np.maximum(totals, 1)
        else:
            last = int(method.removesuffix("-point")) - 1
            best = np.concatenate([best, np.zeros((1, len(totals)))])
            columns, reached = np.arange(len(totals)), np.zeros(len(totals))
            for recall in range(last + 1):
                # Where no detection reaches the recall, this is the row of zeros.
                reached += best[(found * last < recall * totals).sum(axis=0), columns]
            reached /= last + 1
        return np.where(totals > 0, reached, np.nan)


@dataclasses.dataclass(frozen=True)
class Objects:
    """What is there in an image: boxes (N, 4) float64, labels (N,), difficult, crowd (N,) bool, and index (N,), the
    rows of the arrays that were given, of which padding is left out."""

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    index: np.ndarray

    @property
    def wanted(self) -> np.ndarray:
        return ~(self.difficult | self.crowd)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is detected in an image: boxes (M, 4) float64, labels, scores (M,), and index as in `Objects`."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    index: np.ndarray


def gathered(truths: Sequence[Arrays], found: Sequence[Arrays], num_classes: int) -> list[tuple[Objects, Seen]]:
    """Truth and detections of each image without padding, checked. Raises ValueError as `average_precision` does."""
    if len(truths) != len(found):
        raise ValueError(f"truths of {len(truths)} images and detections of {len(found)}; give both for each image")
    everything = []
    for number, (truth, seen) in enumerate(zip(truths, found, strict=True)):
        there = _arrays(truth, ("difficult", "crowd"), f"truth of image {number}", num_classes)
        mine = _arrays(seen, ("scores",), f"detections of image {number}", num_classes)
        if np.isnan(mine["scores"]).any():
            raise ValueError(f"detections of image {number}: a score is not a number")
        everything.append((Objects(**there), Seen(**mine)))
    return everything


def _arrays(given, others, where, num_classes):
    for name in ("boxes", "labels", *(name for name in others if name == "scores")):
        if name not in given:
            raise ValueError(f"{where}: {name} are missing; there are {', '.join(given) or 'no arrays'}")
    boxes, labels = np.asarray(given["boxes"], np.float64).reshape(-1, 4), np.asarray(given["labels"], np.int64)
    arrays = {"boxes": boxes, "labels": labels}
    for name in others:
        missing = np.zeros(len(labels), bool)
        arrays[name] = np.asarray(given["scores"] if name == "scores" else given.get(name, missing))
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where}: {', '.join(f'{length} {name}' for name, length in lengths.items())}")
    if np.isnan(boxes).any():
        raise ValueError(f"{where}: a box has a corner that is not a number")
    if len(labels) and labels.max() >= num_classes:
        raise ValueError(f"{where}: label {labels.max()}, but there are {num_classes} classes (0 to {num_classes - 1})")
    index = np.flatnonzero(labels >= 0)
    kept = {name: values[index] for name, values in arrays.items()}
    return kept | {name: kept[name].astype(bool) for name in others if name != "scores"} | {"index": index}


def ranked(seen: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order (D,) of falling scores of all detections; of equal ones the first comes first. And in that order their
    classes and the numbers of their images (D,)."""
    scores = np.concatenate([np.zeros(0), *(one.scores for one in seen)])
    labels = np.concatenate([np.zeros(0, np.int64), *(one.labels for one in seen)])
    images = np.repeat(np.arange(len(seen)), [len(one.labels) for one in seen])
    order = np.argsort(-scores, kind="stable")
    return order, labels[order], images[order]


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of boxes (N, 4) and (M, 4) as (N, M); 0 for boxes without area."""
    areas, other_areas = (np.prod(np.maximum(some[:, 2:] - some[:, :2], 0), axis=-1) for some in (boxes, others))
    near = np.maximum(boxes[:, None, :2], others[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(far - near, 0), axis=-1)
    return shared / np.maximum(areas[:, None] + other_areas - shared, 1e-12)


def mean(values: np.ndarray) -> np.ndarray:
    """The mean over the classes (..., K) that have a value; NaN where none has."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(known.any(axis=-1), total / np.maximum(known.sum(axis=-1), 1), math.nan)

"""Compares the detections of an exported file with those of the model that it was made from.

Their rows are not in the same order: two with nearly equal scores may swap places, and one that overlaps a better one
by just the suppression threshold may stay or go because of a rounding error. Therefore rows are paired first.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kerastransfer.metrics.voc import iou

COMPARED = ("boxes", "scores", "masks")
# Smallest IoU of paired rows; see `pairs`.
SAME_OBJECT, SAME_CANDIDATE = 0.5, 0.9
ROUNDING = 1e-3

Outputs = Mapping[str, np.ndarray]


def differences(
    expected: Sequence[Outputs], got: Sequence[Outputs], strong: float, compared: Sequence[str] = COMPARED
) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """Compare outputs of the task "instances" for several images. Returns

    - {output: {"maximum", "mean"}}, the absolute difference between paired rows: 0 if there are none, NaN if `got` has
      values that are not finite;
    - {"detections": number of rows of `expected` whose score is at least `strong`, "missing": how many of these `got`
      lacks, "extra": how many such rows only `got` has}.

    A row is neither missing nor extra if the limit on the number of rows may have cut it off: the other side is full,
    and none of its rows is worse by more than a rounding error. Rows below `strong` never count as missing or extra.
    """
    apart = {name: [np.zeros(0)] for name in compared}
    counts = {"detections": 0, "missing": 0, "extra": 0}
    for one, other in zip(expected, got, strict=True):
        rows = list(pairs(one, other, strong))
        mine, theirs = np.array(rows, int).reshape(-1, 2).T
        for name in compared:
            apart[name].append(np.abs(one[name][mine] - other[name][theirs]).ravel())
        counts["detections"] += int(np.sum(_scores(one) >= strong))
        counts["missing"] += _alone(one, mine, other, strong)
        counts["extra"] += _alone(other, theirs, one, strong)
    found = {}
    for name, parts in apart.items():
        values = np.concatenate(parts)
        finite = all(np.isfinite(other[name]).all() for other in got)
        nothing = 0.0 if finite else np.nan
        found[name] = {
            "maximum": float(values.max(initial=0.0) + nothing),
            "mean": float((values.mean() if len(values) else 0.0) + nothing),
        }
    return found, counts


def pairs(one: Outputs, other: Outputs, strong: float) -> Iterator[tuple[int, int]]:
    """Indices of rows that are the same detection, best first. Each row is paired with the row of `other` that has the
    same label and the largest IoU and is not paired yet, if the IoU is at least SAME_OBJECT.

    If neither score is `strong`, the IoU must be at least SAME_CANDIDATE: there are many such rows, and if one of them
    is lost by a rounding error, a neighbour takes its place.
    """
    mine, theirs = _scores(one), _scores(other)
    shared = iou(one["boxes"][: len(mine)], other["boxes"][: len(theirs)])
    shared[one["labels"][: len(mine), None] != other["labels"][None, : len(theirs)]] = -1
    needed = np.where(np.maximum(mine[:, None], theirs) >= strong, SAME_OBJECT, SAME_CANDIDATE)
    shared[~(shared >= needed)] = -1
    for row in range(len(mine)):
        best = shared[row].argmax() if len(theirs) else 0
        if len(theirs) and shared[row, best] >= 0:
            shared[:, best] = -1
            yield row, int(best)


def _scores(outputs: Outputs) -> np.ndarray:
    """The scores of the rows that are detections."""
    return outputs["scores"][: int(outputs["count"])]


def _alone(one: Outputs, paired: np.ndarray, other: Outputs, strong: float) -> int:
    """The number of strong rows of `one` that are not `paired`, except those that the row limit of `other` may have cut
    off."""
    mine, theirs = _scores(one), _scores(other)
    full = len(theirs) == len(other["scores"])
    least = max(strong, theirs.min() + ROUNDING) if full and len(theirs) else strong
    alone = np.setdiff1d(np.arange(len(mine)), paired)
    return int(np.sum(mine[alone] >= least))

"""The detections of an exported file beside those of the model that it was made from.

Their rows do not stand side by side: two of nearly equal score swap places, and one that overlaps a better one by just
the threshold of suppression stays or goes by a rounding. So rows are paired first.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

COMPARED = ("boxes", "scores", "masks")
SAME_OBJECT, SAME_CANDIDATE = 0.5, 0.9  # IoU
ROUNDING = 1e-3

Outputs = Mapping[str, np.ndarray]


def differences(
    expected: Sequence[Outputs], got: Sequence[Outputs], strong: float, compared: Sequence[str] = COMPARED
) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """For the outputs of "instances" of some images {output: {"maximum", "mean"}} of the absolute difference of paired
    rows (0 where there are none, NaN where `got` holds something that is not a number), and {"detections": rows of
    `expected` with a score of `strong` or more, "missing": those of them that `got` lacks, "extra": such rows of
    `got` alone}.

    A row is not missed, nor extra, if it may have fallen to the limit of rows: the other side has no row to spare, and
    none that is worse by more than a rounding. Rows below `strong` are missed nowhere.
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
    """Numbers of the rows that are one detection, the best first: of one label, and of all such rows of `other` that
    are left that of the largest IoU, from SAME_OBJECT on. Where neither score is `strong`, from SAME_CANDIDATE on: such
    rows are many, and where one of them goes by a rounding a neighbour is found in its place."""
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


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) to (N, M); 0 for boxes without area."""
    areas, other_areas = (np.prod(np.maximum(some[:, 2:] - some[:, :2], 0), axis=-1) for some in (boxes, others))
    near = np.maximum(boxes[:, None, :2], others[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(far - near, 0), axis=-1)
    return shared / np.maximum(areas[:, None] + other_areas - shared, 1e-12)


def _scores(outputs: Outputs) -> np.ndarray:
    """Of the rows that are detections."""
    return outputs["scores"][: int(outputs["count"])]


def _alone(one: Outputs, paired: np.ndarray, other: Outputs, strong: float) -> int:
    """How many strong rows of `one` are not among `paired`, nor beyond the limit of rows of `other`."""
    mine, theirs = _scores(one), _scores(other)
    full = len(theirs) == len(other["scores"])
    least = max(strong, theirs.min() + ROUNDING) if full and len(theirs) else strong
    alone = np.setdiff1d(np.arange(len(mine)), paired)
    return int(np.sum(mine[alone] >= least))

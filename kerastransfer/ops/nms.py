"""Greedy non-maximum suppression of a whole batch, in a form that compiles."""

from collections.abc import Callable

import numpy as np
from keras import ops

from kerastransfer.ops.boxes import pairwise_iou

FEWEST = 1000  # candidates: a hundred may be of one large object


def keep(boxes, iou_threshold: float, labels=None):
    """Which boxes survive greedy suppression: (B, M, 4), sorted by falling score, to (B, M) bool.

    A box goes when a better one that stays overlaps it by more than the threshold; with labels (B, M), only one of the
    same label. That recursion is solved for all boxes at once by repeating `stays = no better box that stays overlaps`
    until nothing changes; the first n boxes are right after n rounds, so the fixed point is exact, and it comes after
    as many rounds as the longest chain.
    """
    rank = ops.arange(ops.shape(boxes)[1])
    better = ops.expand_dims(rank, 1) < ops.expand_dims(rank, 0)
    overlaps = ops.logical_and(pairwise_iou(boxes, boxes) > iou_threshold, better)  # (B, better, worse)
    if labels is not None:
        overlaps = ops.logical_and(overlaps, ops.equal(ops.expand_dims(labels, 2), ops.expand_dims(labels, 1)))
    overlaps = ops.cast(overlaps, "float32")

    def again(_, stays):
        covered = ops.einsum("bi,bij->bj", ops.cast(stays, "float32"), overlaps)
        now = covered < 0.5
        return ops.any(ops.not_equal(now, stays)), now

    start = ops.ones_like(boxes[..., 0], dtype="bool")
    return ops.while_loop(lambda changed, _: changed, again, (ops.convert_to_tensor(True), start))[1]


def first_that_stay(boxes, scores, labels, *, iou_threshold: float, score_threshold: float, max_detections: int):
    """Of boxes (B, C, 4) with scores (B, C), falling, and labels (B, C) the first that stay: their numbers (B, M), M =
    max_detections, and whether there is one, (B, M) bool."""
    candidates = ops.shape(scores)[1]
    stays = ops.logical_and(keep(boxes, iou_threshold, labels), scores > score_threshold)
    # As many rows as were asked for, also where there are fewer candidates.
    rank = ops.pad(ops.where(stays, scores, -np.inf), ((0, 0), (0, max_detections)), constant_values=-np.inf)
    rank, order = ops.top_k(rank, max_detections)
    return ops.minimum(order, candidates - 1), rank > -np.inf


def non_max_suppression(
    boxes,
    scores,
    *,
    iou_threshold: float,
    score_threshold: float,
    max_detections: int,
    candidates: int | None = None,
    numbered: bool = False,
    choose: Callable = first_that_stay,
):
    """Per-class greedy NMS.

    boxes (B, A, 4), scores (B, A, K) to {"boxes": (B, M, 4), "scores": (B, M), "labels": (B, M) int32,
    "count": (B,) int32}: M = max_detections rows by falling score; rows past `count` are zeros with label -1. Scores
    must be above `score_threshold`.
    candidates: so many of the highest of the A * K scores take part, by default 10 M and 1000 at least, which bounds
        the memory. Time grows with their square.
    numbered: give "candidates" (B, M) int32 too, which of the A each row was; 0 past `count`.
    choose: does what `first_that_stay` does, where a device has its own way.
    """
    anchors, classes = ops.shape(scores)[1], ops.shape(scores)[2]
    total, most = anchors * classes, candidates or max(10 * max_detections, FEWEST)
    candidates = min(total, most) if isinstance(total, int) else ops.minimum(total, most)
    scores, index = ops.top_k(ops.reshape(scores, (-1, total)), candidates)
    labels = ops.cast(index % classes, "int32")
    numbers = ops.cast(index // classes, "int32")
    boxes = ops.take_along_axis(boxes, ops.expand_dims(numbers, -1), axis=1)

    limits = {"iou_threshold": iou_threshold, "score_threshold": score_threshold, "max_detections": max_detections}
    order, valid = choose(boxes, scores, labels, **limits)
    boxes = ops.take_along_axis(boxes, ops.expand_dims(order, -1), axis=1)
    found = {
        "boxes": ops.where(ops.expand_dims(valid, -1), boxes, 0.0),
        "scores": ops.where(valid, ops.take_along_axis(scores, order, axis=1), 0.0),
        "labels": ops.where(valid, ops.take_along_axis(labels, order, axis=1), -1),
        "count": ops.sum(ops.cast(valid, "int32"), axis=1),
    }
    if numbered:
        found["candidates"] = ops.where(valid, ops.take_along_axis(numbers, order, axis=1), 0)
    return found

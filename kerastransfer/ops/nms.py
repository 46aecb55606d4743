"""Greedy non-maximum suppression of a whole batch, in a form that can be compiled."""

from collections.abc import Callable

import numpy as np
from keras import ops

from kerastransfer.ops.boxes import area


def greedy(boxes, scores, *, iou_threshold: float, score_threshold: float, max_detections: int):
    """The pairs of a box and a class that remain: from boxes (B, A, 4), scores (B, A, K) to (B, M) int32,
    M = max_detections, best first: index of the box * K + class, padded with -1.

    Repeatedly takes the best remaining score, and drops those of the same class whose box overlaps it by more than
    `iou_threshold`, for all images at once, until no score above `score_threshold` remains or M are found. All scores
    take part: time grows with A * K times the number of detections, and memory with the number of scores.
    """
    anchors, classes = ops.shape(scores)[1], scores.shape[2]
    y1, x1, y2, x2 = (boxes[..., side] for side in range(4))
    areas = area(boxes)
    left = ops.where(scores > score_threshold, scores, -np.inf)

    def go_on(found, left, _):
        return ops.logical_and(found < max_detections, ops.any(left > -np.inf))

    def take_best(found, left, pairs):
        flat = ops.reshape(left, (-1, anchors * classes))
        best = ops.cast(ops.argmax(flat, axis=1, keepdims=True), "int32")
        some = ops.take_along_axis(flat, best, axis=1) > -np.inf
        number, label = best // classes, best % classes

        def own(values):
            return ops.take_along_axis(values, number, axis=1)

        height = ops.maximum(ops.minimum(y2, own(y2)) - ops.maximum(y1, own(y1)), 0.0)
        width = ops.maximum(ops.minimum(x2, own(x2)) - ops.maximum(x1, own(x1)), 0.0)
        shared = height * width
        overlap = shared > iou_threshold * (areas + own(areas) - shared)
        gone = ops.expand_dims(ops.logical_or(overlap, ops.equal(ops.arange(anchors), number)), 2)
        if classes > 1:
            gone = ops.logical_and(gone, ops.expand_dims(ops.equal(ops.arange(classes), label), 1))
        here = ops.logical_and(ops.equal(ops.arange(max_detections), found), some)
        return found + 1, ops.where(gone, -np.inf, left), ops.where(here, best, pairs)

    pairs = ops.full((ops.shape(scores)[0], max_detections), -1, dtype="int32")
    return ops.while_loop(go_on, take_best, (ops.convert_to_tensor(0, "int32"), left, pairs))[2]


def non_max_suppression(
    boxes,
    scores,
    *,
    iou_threshold: float,
    score_threshold: float,
    max_detections: int,
    numbered: bool = False,
    choose: Callable = greedy,
):
    """Greedy non-maximum suppression within each class.

    From boxes (B, A, 4), scores (B, A, K) to {"boxes": (B, M, 4), "scores": (B, M), "labels": (B, M) int32,
    "count": (B,) int32}, M = max_detections rows by descending score; rows after `count` are zeros with label -1. All
    scores are above `score_threshold`. No gradient flows.

    numbered: also return "candidates" (B, M) int32, the index of each row's box among the A boxes; 0 after `count`.
    choose: a function like `greedy`, for devices with their own implementation.
    """
    boxes, scores = ops.stop_gradient(boxes), ops.stop_gradient(scores)
    classes = scores.shape[2]
    limits = {"iou_threshold": iou_threshold, "score_threshold": score_threshold, "max_detections": max_detections}
    pairs = choose(boxes, scores, **limits)
    valid, pairs = pairs >= 0, ops.maximum(pairs, 0)
    numbers = pairs // classes
    best = ops.take_along_axis(ops.reshape(scores, (-1, ops.shape(scores)[1] * classes)), pairs, axis=1)
    found = {
        "boxes": ops.where(
            ops.expand_dims(valid, -1), ops.take_along_axis(boxes, ops.expand_dims(numbers, -1), axis=1), 0.0
        ),
        "scores": ops.where(valid, best, 0.0),
        "labels": ops.where(valid, pairs % classes, -1),
        "count": ops.sum(ops.cast(valid, "int32"), axis=1),
    }
    if numbered:
        found["candidates"] = ops.where(valid, numbers, 0)
    return found

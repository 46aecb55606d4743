"""Greedy non-maximum suppression of a whole batch, in a form that compiles."""

from keras import ops

from kerastransfer.ops.boxes import pairwise_iou


def keep(boxes, iou_threshold: float):
    """Which boxes survive greedy suppression: (B, M, 4), sorted by falling score, to (B, M) bool.

    A box goes when a better one that stays overlaps it by more than the threshold. That recursion is solved for all
    boxes at once by repeating `stays = no better box that stays overlaps` until nothing changes; the first n boxes are
    right after n rounds, so the fixed point is exact, and it comes after as many rounds as the longest chain.
    """
    count = ops.shape(boxes)[1]
    better = ops.arange(count)[:, None] < ops.arange(count)[None, :]
    overlaps = ops.logical_and(pairwise_iou(boxes, boxes) > iou_threshold, better)  # (B, better, worse)
    overlaps = ops.cast(overlaps, "float32")

    def again(_, stays):
        covered = ops.einsum("bi,bij->bj", ops.cast(stays, "float32"), overlaps)
        now = covered < 0.5
        return ops.any(ops.not_equal(now, stays)), now

    start = ops.ones_like(boxes[..., 0], dtype="bool")
    return ops.while_loop(lambda changed, _: changed, again, (ops.convert_to_tensor(True), start))[1]


def non_max_suppression(boxes, scores, *, iou_threshold: float, score_threshold: float, max_detections: int):
    """Per-class greedy NMS.

    boxes (B, A, 4), scores (B, A, K) to {"boxes": (B, M, 4), "scores": (B, M), "labels": (B, M) int32,
    "count": (B,) int32}: M = max_detections rows by falling score; rows past `count` are zeros with label -1. Scores
    must be above `score_threshold`.
    """
    anchors, classes = ops.shape(scores)[1], ops.shape(scores)[2]
    flat = ops.reshape(scores, (-1, anchors * classes))
    candidates = (
        ops.minimum(anchors * classes, 4 * max_detections)
        if not isinstance(anchors, int)
        else min(anchors * classes, 4 * max_detections)
    )
    scores, index = ops.top_k(flat, candidates)
    labels = ops.cast(index % classes, "int32")
    boxes = ops.take_along_axis(boxes, ops.expand_dims(index // classes, -1), axis=1)

    # Boxes of different classes are moved apart, so that one pass suppresses within each class alone.
    span = ops.max(ops.abs(boxes), axis=(1, 2), keepdims=True) * 2 + 1
    apart = boxes + ops.expand_dims(ops.cast(labels, boxes.dtype), -1) * span
    stays = ops.logical_and(keep(apart, iou_threshold), scores > score_threshold)

    rank = ops.where(stays, scores, -ops.ones_like(scores))
    rank, order = ops.top_k(rank, min(candidates, max_detections) if isinstance(candidates, int) else max_detections)
    valid = rank >= 0
    valid = ops.logical_and(valid, ops.take_along_axis(stays, order, axis=1))
    return {
        "boxes": ops.where(
            ops.expand_dims(valid, -1), ops.take_along_axis(boxes, ops.expand_dims(order, -1), axis=1), 0.0
        ),
        "scores": ops.where(valid, rank, 0.0),
        "labels": ops.where(valid, ops.take_along_axis(labels, order, axis=1), -1),
        "count": ops.sum(ops.cast(valid, "int32"), axis=1),
    }

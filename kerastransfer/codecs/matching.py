"""Which anchor learns which object."""

from keras import ops

from kerastransfer.ops.boxes import pairwise_iou
from kerastransfer.ops.truths import fold, packed


def by_overlap(boxes, labels, anchors, *, low: float, high: float, best_of_each: bool = True):
    """From objects (B, N, 4), padded where labels (B, N) are -1, and anchors (A, 4) in the same unit to what each
    anchor learns: its state (B, A) int32, and the box (B, A, 4) and label (B, A) of the object that it overlaps most.

    State: 1 where that overlap, an IoU, is at least `high`; 0, background, where it is below `low`; -1, ignored,
    between. With `best_of_each` it is also 1 where no anchor overlaps some object more, so that every object is learnt
    (Faster R-CNN, Ren et al. 2015, section 3.1.2: 0.3 and 0.7; Detectron's RetinaNet: 0.4 and 0.5). Neither time nor
    memory grows with the padding. No gradient flows.
    """
    boxes, labels = packed(ops.cast(boxes, "float32"), labels)
    batch, number = ops.shape(labels)[0], ops.shape(anchors)[0]

    def learn(found, boxes, labels, first):
        best, owner, unsurpassed = found
        overlaps = ops.where(ops.expand_dims(labels >= 0, 2), pairwise_iou(boxes, anchors), -1.0)
        most = ops.max(overlaps, axis=2, keepdims=True)
        own = ops.logical_and(ops.equal(overlaps, most), most > 0)
        here = ops.max(overlaps, axis=1)
        there = ops.cast(ops.argmax(overlaps, axis=1), "int32") + first
        # Of objects that it overlaps equally, an anchor learns the first.
        owner = ops.where(here > best, there, owner)
        return ops.maximum(here, best), owner, ops.logical_or(unsurpassed, ops.any(own, axis=1))

    start = (
        ops.full((batch, number), -1.0),
        ops.zeros((batch, number), dtype="int32"),
        ops.zeros((batch, number), dtype="bool"),
    )
    best, owner, unsurpassed = fold(learn, start, boxes, labels)
    state = ops.where(best >= high, 1, ops.where(best < low, 0, -1))
    if best_of_each:
        state = ops.where(unsurpassed, 1, state)
    return (
        ops.cast(state, "int32"),
        ops.take_along_axis(boxes, ops.expand_dims(owner, -1), axis=1),
        ops.take_along_axis(labels, owner, axis=1),
    )

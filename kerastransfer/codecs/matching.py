"""Which anchor learns which object."""

from keras import ops


def by_overlap(overlaps, labels, *, low: float, high: float, best_of_each: bool = True):
    """IoU (B, N, A) of objects, padded where labels (B, N) are -1, with anchors to the state of each anchor (B, A)
    int32 and the number of its object (B, A) int32, which it overlaps most.

    State: 1 where that overlap is at least `high`; 0, background, where it is below `low`; -1, ignored, between. With
    `best_of_each` it is also 1 where no anchor overlaps some object more, so that every object is learnt (Faster R-CNN,
    Ren et al. 2015, section 3.1.2: 0.3 and 0.7; RetinaNet, Lin et al. 2017: 0.4 and 0.5, without).
    """
    overlaps = ops.where(ops.expand_dims(labels >= 0, 2), overlaps, -1.0)
    best = ops.max(overlaps, axis=1)
    state = ops.where(best >= high, 1, ops.where(best < low, 0, -1))
    if best_of_each:
        most = ops.max(overlaps, axis=2, keepdims=True)
        unsurpassed = ops.logical_and(ops.equal(overlaps, most), most > 0)
        state = ops.where(ops.any(unsurpassed, axis=1), 1, state)
    return ops.cast(state, "int32"), ops.cast(ops.argmax(overlaps, axis=1), "int32")

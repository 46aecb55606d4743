"""Which candidates a loss is computed for, where there are too many of background (Fast R-CNN, Girshick 2015, section
2.3)."""

import keras
from keras import ops


def sampled(state, most: int, share: float, seed: keras.random.SeedGenerator):
    """From state (B, A), 1 where a candidate learns an object, 0 background, -1 ignored, to the same with -1 where it
    is not drawn: of those with an object at most `share` of `most`, and background to make up `most`, all at random."""
    draw = keras.random.uniform(ops.shape(state), seed=seed)
    count = ops.shape(state)[1]
    wanted = min(int(most * share), count) if isinstance(count, int) else ops.minimum(int(most * share), count)
    total = min(most, count) if isinstance(count, int) else ops.minimum(most, count)
    objects = ops.where(ops.equal(state, 1), draw, -1.0)
    kept = ops.logical_and(objects >= 0, objects >= ops.top_k(objects, wanted)[0][:, -1:])
    left = total - ops.sum(ops.cast(kept, "int32"), axis=1, keepdims=True)
    background = ops.where(ops.equal(state, 0), draw, -1.0)
    # In descending order: the last one that is drawn.
    order = ops.top_k(background, total)[0]
    last = ops.take_along_axis(order, ops.maximum(left - 1, 0), axis=1)
    filled = ops.logical_and(ops.logical_and(background >= 0, background >= last), left > 0)
    return ops.where(kept, 1, ops.where(filled, 0, -1))

"""Works on annotations that are padded to many more objects than most images have."""

from collections.abc import Callable

from keras import ops

# Number of objects at a time.
BLOCK = 32


def packed(boxes, labels):
    """boxes (B, N, 4) and labels (B, N), reordered: objects (labels from 0) first, in their order, then padding."""
    number = ops.shape(labels)[1]
    _, order = ops.top_k(ops.where(labels >= 0, number - ops.arange(number), 0), number)
    return (
        ops.take_along_axis(boxes, ops.expand_dims(order, -1), axis=1),
        ops.take_along_axis(labels, order, axis=1),
    )


def fold(step: Callable, start, boxes, labels, block: int | None = None):
    """Repeat `value = step(value, boxes, labels, first)` over `packed` objects, starting with `start`, and return the
    value. Each step gets `block` objects (BLOCK by default), boxes (B, block, 4) and labels (B, block), the first of
    which has the index `first`.

    It ends when no image of the batch has further objects, so that neither time nor memory grows with the padding. No
    gradient flows.
    """
    number, block = labels.shape[1], block or BLOCK
    if number is not None and number <= block:
        return step(start, boxes, labels, 0)
    boxes = ops.pad(boxes, ((0, 0), (0, block), (0, 0)))
    labels = ops.pad(labels, ((0, 0), (0, block)), constant_values=-1)
    most = ops.max(ops.sum(ops.cast(labels >= 0, "int32"), axis=1))
    rows = ops.arange(block, dtype="int32")

    def again(first, value):
        there = [ops.take(values, first + rows, axis=1) for values in (boxes, labels)]
        return first + block, step(value, *there, first)

    first = ops.convert_to_tensor(0, "int32")
    return ops.while_loop(lambda first, _: first < most, again, (first, start))[1]

"""Sums the weights of all boxes that cover a pixel, for all boxes at once."""

from keras import ops


def paint(boxes, weights, size: tuple[int, int]):
    """The total weight of the boxes over each pixel: from boxes (B, N, (y1, x1, y2, x2)) in pixels and weights (B, N)
    to (B, H, W).

    A pixel that is partly covered by a box gets that share of its weight; a box without area has no effect. Each box
    adds its weight at its near corner and subtracts it again at its far sides, and cumulative sums along rows and
    columns spread it, so that the time grows with N plus H * W.
    """
    height, width = size
    y1, x1, y2, x2 = (ops.clip(boxes[..., i], 0, side) for i, side in enumerate((height, width) * 2))
    weights = ops.where(ops.logical_and(y2 > y1, x2 > x1), weights, 0.0)
    rows, down = _changes(y1, y2, height)
    columns, across = _changes(x1, x2, width)
    batch = ops.shape(boxes)[0]
    image = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1, 1)) * ((height + 1) * (width + 1))
    # The shape is (B, N, 4, 4).
    places = image + ops.expand_dims(rows, 3) * (width + 1) + ops.expand_dims(columns, 2)
    amounts = ops.expand_dims(down, 3) * ops.expand_dims(across, 2) * weights[..., None, None]
    cells = batch * (height + 1) * (width + 1)
    changes = ops.scatter(ops.reshape(places, (-1, 1)), ops.reshape(amounts, (-1,)), (cells,))
    changes = ops.reshape(changes, (batch, height + 1, width + 1))
    return ops.cumsum(ops.cumsum(changes, axis=1), axis=2)[:, :height, :width]


def _changes(near, far, length):
    """Places (B, N, 4) int32 and amounts (B, N, 4) whose cumulative sum along an axis of `length` pixels is the share
    of each pixel between near and far (B, N); a side inside a pixel is split between it and the next."""
    places, amounts = [], []
    for side, sign in ((near, 1.0), (far, -1.0)):
        pixel = ops.minimum(ops.floor(side), length - 1)
        within = side - pixel
        places += [pixel, pixel + 1]
        amounts += [sign * (1 - within), sign * within]
    return ops.cast(ops.stack(places, axis=-1), "int32"), ops.stack(amounts, axis=-1)

"""Boxes that paint the pixels they cover, all of them at once."""

from keras import ops


def paint(boxes, weights, size: tuple[int, int]):
    """How much weight covers each pixel: boxes (B, N, (y1, x1, y2, x2)) in pixels, weights (B, N), to (B, H, W).

    A box covers the pixels whose centres lie in it; one without area, none. Each box is a weight at its near corner
    that its far sides take back; sums along rows and columns do the rest, so that the time grows with N plus H * W.
    """
    height, width = size
    edges = ops.ceil(boxes - 0.5)  # the first pixel whose centre is not before the side
    y1, x1, y2, x2 = (ops.clip(edges[..., i], 0, side) for i, side in enumerate((height, width) * 2))
    weights = ops.where(ops.logical_and(y2 > y1, x2 > x1), weights, 0.0)
    batch = ops.shape(boxes)[0]
    image = ops.reshape(ops.cast(ops.arange(batch), "int32"), (-1, 1)) * ((height + 1) * (width + 1))

    def corner(y, x):
        return image + ops.cast(y, "int32") * (width + 1) + ops.cast(x, "int32")

    corners = ops.concatenate([corner(y1, x1), corner(y2, x2), corner(y1, x2), corner(y2, x1)], axis=1)
    signed = ops.concatenate([weights, weights, -weights, -weights], axis=1)
    cells = batch * (height + 1) * (width + 1)
    changes = ops.scatter(ops.reshape(corners, (-1, 1)), ops.reshape(signed, (-1,)), (cells,))
    changes = ops.reshape(changes, (batch, height + 1, width + 1))
    return ops.cumsum(ops.cumsum(changes, axis=1), axis=2)[:, :height, :width]

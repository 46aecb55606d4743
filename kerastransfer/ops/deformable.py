"""Deformable convolution: each tap of the kernel reads the map at a place of its own (Dai et al. 2017, section 2.1)."""

from keras import ops


def deformable_conv(x, kernel, offsets, mask=None, *, stride: int = 1, dilation: int = 1, offset_groups: int = 1):
    """From x (B, H, W, D) and kernel (k, k, D, F), k odd, to (B, h, w, F); h = ceil(H / stride), and w likewise.

    offsets: (B, h, w, G * k * k * 2), in pixels of x: dy, dx of the first tap of the first group, then of its second
        tap, row by row. The D channels are split into G = `offset_groups` groups of neighbours.
    mask: (B, h, w, G * k * k), the factor of each tap (Zhu et al. 2019, section 2.2).
    Padding is symmetric, dilation * (k // 2). Between pixels x is interpolated bilinearly; beyond its borders it is 0,
    and no gradient reaches the offset of a tap that reads nothing else.

    Places are computed in float32, values in the type of `x`. One gather for each of the four neighbours reads all
    taps, so that memory grows with B * h * w * k * k * D.
    """
    side, depth = kernel.shape[0], x.shape[-1]
    taps, groups = side * side, offset_groups
    batch, height, width = ops.shape(x)[:3]
    _, rows, columns, _ = ops.shape(offsets)

    def by_tap(values):
        """(B, h, w, G * k * k) to (B, h, w, k * k, G): the channels of all groups are neighbours then."""
        values = ops.reshape(ops.cast(values, "float32"), (batch, rows, columns, groups, taps))
        return ops.swapaxes(values, -1, -2)

    # No array has more than five axes, which is the most that LiteRT slices.
    y_grid, x_grid = _grid(rows, columns, side, stride, dilation)
    top, down = _neighbours(by_tap(offsets[..., 0::2]) + y_grid, height)
    left, along = _neighbours(by_tap(offsets[..., 1::2]) + x_grid, width)
    factor = 1.0 if mask is None else by_tap(mask)

    # Each row holds the channels of one group at one pixel.
    values = ops.reshape(x, (batch * height * width * groups, depth // groups))
    image = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1, 1, 1))
    group = ops.arange(groups, dtype="int32")
    total = 0.0
    for row, vertical in enumerate((1 - down, down)):
        inside_row, at_row = _inside(top + row, height)
        for column, horizontal in enumerate((1 - along, along)):
            inside_column, at_column = _inside(left + column, width)
            index = ((image * height + at_row) * width + at_column) * groups + group
            weight = ops.cast(vertical * horizontal * inside_row * inside_column * factor, x.dtype)
            total = total + ops.take(values, ops.reshape(index, (-1,)), axis=0) * ops.reshape(weight, (-1, 1))
    sampled = ops.reshape(total, (batch, rows, columns, taps * depth))
    return ops.matmul(sampled, ops.reshape(ops.cast(kernel, x.dtype), (taps * depth, -1)))


def _grid(rows, columns, side, stride, dilation):
    """Where the taps of an ordinary convolution are: y (h, 1, k * k, 1) and x (w, k * k, 1)."""
    steps = (ops.arange(side, dtype="float32") - side // 2) * dilation
    down, along = (ops.expand_dims(each, -1) for each in (ops.repeat(steps, side), ops.tile(steps, side)))
    y, x = (ops.arange(number, dtype="float32") * stride for number in (rows, columns))
    return ops.reshape(y, (-1, 1, 1, 1)) + down, ops.reshape(x, (-1, 1, 1)) + along


def _neighbours(places, length):
    """The first of the two pixels around each place, from -1, and the distance of the place from it.

    A place more than a pixel outside is moved to where all pixels that count are 0.
    """
    near = ops.clip(places, -1.0, ops.cast(length, "float32"))
    first = ops.stop_gradient(ops.floor(near))
    return ops.cast(first, "int32"), near - first


def _inside(pixels, length):
    """1.0 where a pixel is on the map, and the pixel that is read: the nearest on the map."""
    inside = ops.logical_and(pixels >= 0, pixels < length)
    return ops.cast(inside, "float32"), ops.clip(pixels, 0, length - 1)

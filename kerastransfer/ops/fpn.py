"""Which map of a pyramid a box is pooled from."""

from keras import ops


def fpn_level(boxes, image_size: tuple[int, int], *, k0: int = 4, smallest: int = 3, largest: int = 5):
    """The level of boxes (..., (y1, x1, y2, x2)), fractions of an image of (H, W) pixels: (...) int32, clamped to
    smallest..largest (Lin et al. 2017, equation 1).

    A box of 224 x 224 pixels is of level k0; one with twice the side, of the next. Level k has stride 2 ** k, so
    YOLOv3's strides 8, 16 and 32 are levels 3, 4 and 5. A box without area is of the smallest.
    """
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0) * ops.convert_to_tensor(image_size, "float32")
    side = ops.sqrt(sides[..., 0] * sides[..., 1])
    level = ops.floor(k0 + ops.log2(side / 224 + 1e-8))
    return ops.cast(ops.clip(level, smallest, largest), "int32")

"""The map of a feature pyramid from which a box is pooled."""

from keras import ops


def fpn_level(boxes, image_size: tuple[int, int], *, k0: int = 4, smallest: int = 3, largest: int = 5):
    """The levels (...) int32 of boxes (..., (y1, x1, y2, x2)), fractions of an image of (H, W) pixels, clipped to
    smallest..largest (FPN, Lin et al. 2017, equation 1).

    The level of a box of 224 x 224 pixels is k0, and that of a box with twice the side is one higher. Level k has
    stride 2 ** k, so YOLOv3's strides 8, 16 and 32 are levels 3, 4 and 5. A box without area has the level `smallest`.
    """
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0) * ops.convert_to_tensor(image_size, "float32")
    side = ops.sqrt(sides[..., 0] * sides[..., 1])
    level = ops.floor(k0 + ops.log2(side / 224 + 1e-8))
    return ops.cast(ops.clip(level, smallest, largest), "int32")

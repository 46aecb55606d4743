"""Arithmetic on boxes (..., (y1, x1, y2, x2)) in any one unit."""

import math

from keras import ops

# Of a side, in sides of its anchor: Detectron2's bound.
LARGEST = 1000 / 16


def to_centres(boxes):
    """(..., (y1, x1, y2, x2)) to (..., (cy, cx, h, w))."""
    near, far = boxes[..., :2], boxes[..., 2:]
    return ops.concatenate([(near + far) / 2, far - near], axis=-1)


def to_corners(centres):
    """(..., (cy, cx, h, w)) to (..., (y1, x1, y2, x2))."""
    middle, half = centres[..., :2], centres[..., 2:] / 2
    return ops.concatenate([middle - half, middle + half], axis=-1)


def to_xywh(boxes):
    """(..., (y1, x1, y2, x2)) to Darknet's (..., (x, y, w, h)), x and y being the centre."""
    centres = to_centres(boxes)
    return ops.concatenate([ops.flip(centres[..., :2], -1), ops.flip(centres[..., 2:], -1)], axis=-1)


def from_xywh(xywh):
    """(..., (x, y, w, h)), x and y being the centre, to (..., (y1, x1, y2, x2))."""
    return to_corners(ops.concatenate([ops.flip(xywh[..., :2], -1), ops.flip(xywh[..., 2:], -1)], axis=-1))


def deltas(boxes, anchors):
    """What takes anchors to boxes that correspond (shapes broadcast), all with area: (..., (dy, dx, dh, dw)), the way
    of the centre in sides of the anchor, and the logarithm of how many times as long a side is (R-CNN, Girshick et al.
    2014, appendix C)."""
    boxes, anchors = to_centres(boxes), to_centres(anchors)
    sides = anchors[..., 2:]
    way = (boxes[..., :2] - anchors[..., :2]) / sides
    return ops.concatenate([way, ops.log(boxes[..., 2:] / sides)], axis=-1)


def apply_deltas(deltas, anchors):
    """The inverse of `deltas`: (..., (dy, dx, dh, dw)) and anchors to boxes, not clipped. No side grows to more than
    LARGEST times the anchor's, so that an untrained network stays finite."""
    anchors = to_centres(anchors)
    sides = anchors[..., 2:]
    centres = anchors[..., :2] + deltas[..., :2] * sides
    grown = sides * ops.exp(ops.minimum(deltas[..., 2:], math.log(LARGEST)))
    return to_corners(ops.concatenate([centres, grown], axis=-1))


def area(boxes):
    """(..., 4) to (...); a box turned inside out has no area."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def iou(a, b, epsilon: float = 1e-9):
    """Intersection over union of boxes that correspond (shapes broadcast): (..., 4), (..., 4) to (...).

    `epsilon` is added to the union, so that two boxes without area have an IoU of 0.
    """
    corners = ops.concatenate([ops.maximum(a[..., :2], b[..., :2]), ops.minimum(a[..., 2:], b[..., 2:])], axis=-1)
    intersection = area(corners)
    return intersection / (area(a) + area(b) - intersection + epsilon)


def giou(a, b, epsilon: float = 1e-9):
    """Generalised IoU of boxes that correspond, in [-1, 1]: the IoU less the share of the smallest box around both
    that neither covers (Rezatofighi et al. 2019). Its gradient finds the way when the boxes do not meet."""
    overlap = iou(a, b, epsilon)
    around = area(ops.concatenate([ops.minimum(a[..., :2], b[..., :2]), ops.maximum(a[..., 2:], b[..., 2:])], axis=-1))
    both = area(a) + area(b)
    union = both - overlap * (both + epsilon) / (1 + overlap)
    return overlap - (around - union) / (around + epsilon)


def ciou(a, b, epsilon: float = 1e-9):
    """Complete IoU of boxes that correspond: the IoU less the squared distance of their centres, in diagonals of the
    smallest box around both, and less a term for unlike shapes (Zheng et al. 2020)."""
    overlap = iou(a, b, epsilon)
    centres_a, centres_b = to_centres(a), to_centres(b)
    far, near = ops.maximum(a[..., 2:], b[..., 2:]), ops.minimum(a[..., :2], b[..., :2])
    diagonal = ops.sum(ops.square(far - near), axis=-1) + epsilon
    distance = ops.sum(ops.square(centres_a[..., :2] - centres_b[..., :2]), axis=-1) / diagonal

    def slope(centres):
        return ops.arctan2(ops.maximum(centres[..., 3], epsilon), ops.maximum(centres[..., 2], epsilon))

    unlike = (4 / math.pi**2) * ops.square(slope(centres_a) - slope(centres_b))
    # A weight without a gradient, as in the authors' code.
    share = ops.stop_gradient(unlike / (1 - overlap + unlike + epsilon))
    return overlap - distance - share * unlike


def pairwise_iou(a, b):
    """(..., N, 4), (..., M, 4) to (..., N, M)."""
    return iou(ops.expand_dims(a, -2), ops.expand_dims(b, -3))

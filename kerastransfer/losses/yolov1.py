"""YOLOv1's loss in the three forms of its sources (YOLOv1, Redmon et al. 2016, section 2.2; Darknet; ElSedfy 2025), and
one of ours."""

import dataclasses
from collections.abc import Callable, Mapping

from keras import ops

from kerastransfer.ops.boxes import giou, iou, to_centres, to_corners

WEIGHTS = {"coordinates": 5.0, "objectness": 1.0, "background": 0.5, "classes": 1.0}


@dataclasses.dataclass(frozen=True)
class Rule:
    """The differences between the sources.

    rescore: the target of the responsible box's confidence is its IoU instead of 1.
    closest: if no box of the cell overlaps the truth, the one with the smallest distance in (x, y, w, h), as fractions
        of the image, is responsible instead of the first.
    others: boxes that are not responsible are background in cells with an object too.
    giou: 1 - GIoU (Rezatofighi et al. 2019) is added to the squared coordinate errors, which do not measure overlap.
    """

    rescore: bool
    closest: bool
    others: bool
    giou: bool = False


RULES = {
    "paper": Rule(rescore=True, closest=False, others=True),
    "darknet": Rule(rescore=True, closest=True, others=True),
    "author": Rule(rescore=False, closest=False, others=False),
    # Not from a paper: the overlap itself is the loss.
    "giou": Rule(rescore=True, closest=True, others=True, giou=True),
}


def signed_root(x):
    """sign(x) * sqrt(|x| + 1e-6), because a predicted size may be negative and its gradient must be finite."""
    return ops.sign(x) * ops.sqrt(ops.abs(x) + 1e-6)


def yolov1_loss(codec, rule: str = "author") -> Callable[[Mapping, object], dict]:
    """Terms of the loss: `terms({"boxes": (B, N, 4), "labels": (B, N)}, predictions) -> {name: (B,)}`.

    Each term is the sum over the cells of an image; WEIGHTS are those of Redmon et al. 2016. rule: a name in RULES. The
    square root of sizes is taken here, unless the network already predicts roots (see the codec's `sizes`).
    """
    rule = RULES[rule]

    def terms(annotations: Mapping, predictions) -> dict:
        classes, confidences, boxes = codec.unpack(predictions)
        grid = tuple(classes.shape[1:3]) if None not in classes.shape[1:3] else tuple(ops.shape(classes)[1:3])
        targets = codec.encode(annotations["boxes"], annotations["labels"], grid)
        truth, has_object = ops.expand_dims(targets["boxes"], -2), ops.expand_dims(targets["state"], -1)

        guess, wanted = _corners(codec, boxes, grid), _corners(codec, truth, grid)
        # The shape is (B, S, S, B).
        overlap = ops.stop_gradient(iou(guess, wanted, epsilon=1e-6))
        preference = overlap
        if rule.closest:
            image = ops.cast(ops.stack([*grid[::-1], *grid[::-1]]), "float32")
            distance = ops.sum(ops.square((to_centres(guess) - to_centres(wanted)) / image), axis=-1)
            nothing = ops.cast(ops.max(overlap, axis=-1, keepdims=True) <= 0, "float32")
            preference = overlap - nothing * ops.stop_gradient(distance)
        chosen = ops.one_hot(ops.argmax(preference, axis=-1), codec.boxes_per_cell)
        responsible = chosen * has_object
        background = 1 - (responsible if rule.others else has_object * ops.ones_like(chosen))

        confidence = overlap if rule.rescore else ops.ones_like(overlap)
        root = (lambda size: size) if codec.sizes == "root" else signed_root
        offsets = boxes[..., :2] - truth[..., :2]
        sizes = root(boxes[..., 2:]) - root(truth[..., 2:])
        coordinates = ops.sum(ops.square(offsets) + ops.square(sizes), axis=-1)
        if rule.giou:
            coordinates = coordinates + 1 - giou(guess, wanted, epsilon=1e-6)

        def per_image(values):
            return ops.sum(values, axis=tuple(range(1, len(values.shape))))

        return {
            "coordinates": per_image(responsible * coordinates),
            "objectness": per_image(responsible * ops.square(confidences - confidence)),
            "background": per_image(background * ops.square(confidences)),
            "classes": per_image(has_object * ops.square(classes - targets["classes"])),
        }

    return terms


def _corners(codec, boxes, grid):
    """(..., (x, y, w, h)) as corners in units of cells, relative to the cell of each box."""
    xy, wh = boxes[..., :2], boxes[..., 2:]
    if codec.sizes != "cell":
        size = ops.cast(ops.stack([grid[1], grid[0]]), "float32")
        wh = (ops.square(wh) if codec.sizes == "root" else wh) * size
    return to_corners(ops.concatenate([xy, wh], axis=-1))

"""YOLOv1's loss in the three forms that its sources give (YOLOv1, Redmon et al. 2016, section 2.2; Darknet;
ElSedfy 2025), and one of ours."""

import dataclasses
from collections.abc import Callable, Mapping

from keras import ops

from kerastransfer.ops.boxes import giou, iou, to_centres, to_corners

WEIGHTS = {"coordinates": 5.0, "objectness": 1.0, "background": 0.5, "classes": 1.0}


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where the sources differ.

    rescore: the confidence of the responsible box is to equal its IoU, and not 1.
    closest: where no box of the cell meets the truth, the one at the smallest distance in (x, y, w, h), as fractions of
        the image, is responsible, and not the first.
    others: a box that is not responsible counts as background in a cell with an object too.
    giou: 1 - generalised IoU is added to the squares of the coordinates, which alone are blind to overlap.
    """

    rescore: bool
    closest: bool
    others: bool
    giou: bool = False


RULES = {
    "paper": Rule(rescore=True, closest=False, others=True),
    "darknet": Rule(rescore=True, closest=True, others=True),
    "author": Rule(rescore=False, closest=False, others=False),
    "giou": Rule(rescore=True, closest=True, others=True, giou=True),  # ours
}


def signed_root(x):
    """sign(x) * sqrt(|x| + 1e-6): a predicted size may be negative, and its gradient must stay finite."""
    return ops.sign(x) * ops.sqrt(ops.abs(x) + 1e-6)


def yolov1_loss(codec, rule: str = "author") -> Callable[[Mapping, object], dict]:
    """Terms of the loss: `terms({"boxes": (B, N, 4), "labels": (B, N)}, predictions) -> {name: (B,)}`.

    Each term is the sum over cells of one image; WEIGHTS are the paper's. rule: a name in RULES. The root of the sizes
    is taken here unless the codec's network predicts roots already.
    """
    rule = RULES[rule]

    def terms(annotations: Mapping, predictions) -> dict:
        classes, confidences, boxes = codec.unpack(predictions)
        grid = tuple(classes.shape[1:3]) if None not in classes.shape[1:3] else tuple(ops.shape(classes)[1:3])
        targets = codec.encode(annotations["boxes"], annotations["labels"], grid)
        truth, has_object = ops.expand_dims(targets["boxes"], -2), ops.expand_dims(targets["state"], -1)

        guess, wanted = _corners(codec, boxes, grid), _corners(codec, truth, grid)
        overlap = ops.stop_gradient(iou(guess, wanted, epsilon=1e-6))  # (B, S, S, B)
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
    """(..., (x, y, w, h)) as corners in cells, relative to each one's own cell."""
    xy, wh = boxes[..., :2], boxes[..., 2:]
    if codec.sizes != "cell":
        size = ops.cast(ops.stack([grid[1], grid[0]]), "float32")
        wh = (ops.square(wh) if codec.sizes == "root" else wh) * size
    return to_corners(ops.concatenate([xy, wh], axis=-1))

"""YOLOv3's loss as in Darknet (Redmon and Farhadi 2018, section 2), and variants whose box term measures overlap."""

import dataclasses
from collections.abc import Callable, Mapping

from keras import ops

from kerastransfer.ops.boxes import ciou, giou, iou, pairwise_iou
from kerastransfer.ops.truths import fold, packed


@dataclasses.dataclass(frozen=True)
class Rule:
    """The differences between the variants.

    boxes: "squares" (Darknet: cross-entropy of x and y, and half the squared errors of the logarithms of the sizes),
        "giou" (1 - GIoU, Rezatofighi et al. 2019) or "ciou" (1 - CIoU, Zheng et al. 2020); each is weighted by 2 - the
        share of the image that the box covers.
    rescore: the target of an object's objectness is the IoU of the predicted box instead of 1.
    """

    boxes: str
    rescore: bool = False


RULES = {"darknet": Rule("squares"), "giou": Rule("giou", rescore=True), "ciou": Rule("ciou", rescore=True)}
WEIGHTS = {
    "darknet": {"coordinates": 1.0, "objectness": 1.0, "background": 1.0, "classes": 1.0},
    "giou": {"coordinates": 2.0, "objectness": 1.0, "background": 1.0, "classes": 1.0},
    "ciou": {"coordinates": 2.0, "objectness": 1.0, "background": 1.0, "classes": 1.0},
}


def yolov3_loss(
    codec, rule: str = "darknet", *, ignore: float = 0.7, means: bool = False
) -> Callable[[Mapping, Mapping], dict]:
    """Terms of the loss: `terms({"boxes": (B, N, 4), "labels": (B, N)}, raw maps) -> {name: (B,)}`, each the sum over
    the candidates of an image.

    means: every term is a pair (sums, counts), which divides it by the number of candidates in the batch that learn an
        object, background included (as in RetinaNet, Lin et al. 2017, section 4.1). Terms of other losses that are
        means, such as that of masks, are then of the same size.

    rule: a name in RULES. ignore: a candidate that does not learn an object, but whose box overlaps one by more than
    this IoU, is not trained to be background (0.7 in Darknet's files; 0.5 in Redmon and Farhadi 2018, section 2.1).
    """
    rule = RULES[rule]

    def terms(annotations: Mapping, predictions: Mapping) -> dict:
        parameters, objectness, classes = codec.unpack(predictions)
        grids = codec.grids(predictions)
        priors = codec.priors(grids)
        boxes, labels = ops.cast(annotations["boxes"], "float32"), annotations["labels"]
        targets = codec.encode(boxes, labels, grids)
        learnt, truth = targets["state"], targets["boxes"]

        guess = codec.corners(parameters, priors)
        fixed = ops.stop_gradient(guess)

        def nearest(best, boxes, labels, _):
            real = ops.expand_dims(ops.cast(labels >= 0, "float32"), 1)
            return ops.maximum(best, ops.max(pairwise_iou(fixed, boxes) * real, axis=-1))

        meets = fold(nearest, ops.zeros_like(objectness), *packed(boxes, labels)) > ignore
        background = (1 - learnt) * ops.cast(ops.logical_not(meets), "float32")

        height, width = truth[..., 2] - truth[..., 0], truth[..., 3] - truth[..., 1]
        weight = learnt * (2 - height * width)
        if rule.boxes == "squares":
            wanted = codec.parameters(truth, priors)
            centre = _cross_entropy(parameters[..., :2], wanted[..., :2])
            size = ops.square(parameters[..., 2:] - wanted[..., 2:])
            coordinates = ops.sum(centre + 0.5 * size, axis=-1)
        else:
            coordinates = 1 - {"giou": giou, "ciou": ciou}[rule.boxes](guess, truth, epsilon=1e-9)
        known = ops.stop_gradient(ops.clip(iou(guess, truth), 0.0, 1.0)) if rule.rescore else ops.ones_like(learnt)

        def per_image(values):
            return ops.sum(values, axis=tuple(range(1, len(values.shape))))

        values = {
            "coordinates": per_image(weight * coordinates),
            "objectness": per_image(learnt * _cross_entropy(objectness, known)),
            "background": per_image(background * _cross_entropy(objectness, ops.zeros_like(objectness))),
            "classes": per_image(ops.expand_dims(learnt, -1) * _cross_entropy(classes, targets["classes"])),
        }
        positives = per_image(learnt)
        return {name: (value, positives) for name, value in values.items()} if means else values

    return terms


def _cross_entropy(logits, targets):
    """Elementwise binary cross-entropy of logits."""
    return ops.maximum(logits, 0) - logits * targets + ops.softplus(-ops.abs(logits))

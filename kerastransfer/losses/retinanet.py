"""RetinaNet's loss (Lin et al. 2017, section 4.1)."""

from collections.abc import Callable, Mapping

from keras import ops

from kerastransfer.losses.focal import focal
from kerastransfer.ops.boxes import giou

WEIGHTS = {"classes": 1.0, "boxes": 1.0}


def retinanet_loss(codec, rule: str = "smooth_l1", *, beta: float = 0.11) -> Callable[[Mapping, Mapping], dict]:
    """Terms of the loss: `terms({"boxes": (B, N, 4), "labels": (B, N)}, raw maps) -> {name: (sums (B,), counts (B,))}`,
    which `training.terms.TermModel` divides over the whole batch.

    "classes": the focal loss of all anchors and classes, but for ignored anchors, per learning anchor; each image
        counts as one more, so that a batch without objects is no exception (as in LabelEnc's code).
    "boxes": with rule "smooth_l1" of the four deltas, squared up to `beta`, their mean over the learning anchors; with
        "giou" 1 - GIoU, its mean.
    """

    def terms(annotations: Mapping, predictions: Mapping) -> dict:
        found, logits = codec.unpack(predictions)
        grids = codec.grids(predictions)
        targets = codec.encode(annotations["boxes"], annotations["labels"], grids)
        learnt = ops.equal(targets["state"], 1)
        wanted = ops.one_hot(ops.where(learnt, targets["labels"], -1), codec.num_classes)
        counted = ops.cast(targets["state"] >= 0, "float32")
        positives = ops.sum(ops.cast(learnt, "float32"), axis=1)
        anchors = codec.anchors(grids)
        # Where nothing is learnt the anchor itself is the target, whose deltas are finite.
        boxes = ops.where(ops.expand_dims(learnt, -1), targets["boxes"], anchors)
        if rule == "giou":
            wrong, each = 1 - giou(codec.corners(found, anchors), boxes), 1
        else:
            wrong, each = ops.sum(smooth_l1(found - codec.deltas(boxes, anchors), beta), axis=-1), 4
        return {
            "classes": (ops.sum(ops.sum(focal(logits, wanted), axis=-1) * counted, axis=1), positives + 1),
            "boxes": (ops.sum(ops.where(learnt, wrong, 0.0), axis=1), each * positives),
        }

    return terms


def smooth_l1(differences, beta: float):
    """Elementwise: half the square, divided by beta, up to beta, and the absolute value less half of beta beyond."""
    size = ops.abs(differences)
    return ops.where(size < beta, 0.5 * ops.square(differences) / beta, size - 0.5 * beta)

"""FCOS's loss (Tian et al. 2019, section 3.1)."""

from collections.abc import Callable, Mapping

from keras import ops

from kerastransfer.losses.focal import focal
from kerastransfer.ops.boxes import area, giou

WEIGHTS = {"classes": 1.0, "boxes": 1.0, "centerness": 1.0}


def fcos_loss(codec, rule: str = "giou") -> Callable[[Mapping, Mapping], dict]:
    """Terms of the loss: `terms({"boxes": (B, N, 4), "labels": (B, N)}, raw maps) -> {name: (sums (B,), counts (B,))}`,
    which `training.terms.TermModel` divides over the whole batch.

    "classes": the focal loss of all places and classes, and "centerness": its cross-entropy, per place that learns an
        object; in a batch without objects both are sums.
    "boxes": with rule "iou" -ln((intersection + 1) / (union + 1)) in pixels, with "giou" 1 - GIoU; a mean over the
        places that learn an object, weighted by their centerness.
    """

    def terms(annotations: Mapping, predictions: Mapping) -> dict:
        raw, logits, middle = codec.unpack(predictions)
        grids = codec.grids(predictions)
        places = codec.places(grids)
        targets = codec.encode(annotations["boxes"], annotations["labels"], grids)
        learnt = ops.equal(targets["state"], 1)
        positives = ops.sum(ops.cast(learnt, "float32"), axis=1)
        wanted = ops.one_hot(ops.where(learnt, targets["labels"], -1), codec.num_classes)
        guess = codec.corners(raw, places)
        # Elsewhere the guess itself, so that no infinity meets a weight of 0.
        boxes = ops.where(ops.expand_dims(learnt, -1), targets["boxes"], ops.stop_gradient(guess))
        wrong = 1 - giou(guess, boxes) if rule == "giou" else _log_iou(guess, boxes, places.size)
        known = targets["centerness"]
        cross_entropy = ops.maximum(middle, 0) - middle * known + ops.softplus(-ops.abs(middle))
        return {
            "classes": (ops.sum(focal(logits, wanted), axis=(1, 2)), positives),
            "boxes": (ops.sum(ops.where(learnt, wrong * known, 0.0), axis=1), ops.sum(known, axis=1)),
            "centerness": (ops.sum(ops.where(learnt, cross_entropy, 0.0), axis=1), positives),
        }

    return terms


def _log_iou(guess, boxes, size):
    size = ops.concatenate([size, size])
    guess, boxes = guess * size, boxes * size
    near, far = ops.maximum(guess[..., :2], boxes[..., :2]), ops.minimum(guess[..., 2:], boxes[..., 2:])
    shared = area(ops.concatenate([near, far], axis=-1))
    return ops.log(area(guess) + area(boxes) - shared + 1) - ops.log(shared + 1)

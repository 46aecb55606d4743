"""Faster R-CNN's losses (Ren et al. 2015, section 3.1.2; Fast R-CNN, Girshick 2015, section 2.3)."""

from collections.abc import Callable, Mapping

from keras import ops

from kerastransfer.losses.retinanet import smooth_l1

WEIGHTS = {"proposal_objects": 1.0, "proposal_boxes": 1.0, "classes": 1.0, "boxes": 1.0}
# Up to here the error of a box is squared: of a proposal's, and of the second stage's.
PROPOSAL_BETA, BETA = 1 / 9, 1.0


def faster_rcnn_loss(codec) -> Callable[[Mapping, Mapping], dict]:
    """Terms of the loss: `terms(annotations, outputs of models.faster_rcnn.learner) -> {name: (sums, counts)}`, each
    (B,), which `training.terms.TermModel` divides over the whole batch: all are per candidate that was drawn."""

    def terms(_, outputs: Mapping) -> dict:
        first = codec.proposals
        found, logits = first.unpack(outputs)
        anchors = first.anchors(first.grids(outputs))
        state = outputs["anchor_state"]
        drawn, learnt = ops.cast(state >= 0, "float32"), ops.equal(state, 1)
        wanted = ops.cast(learnt, "float32")
        logits = logits[..., 0]
        objects = ops.maximum(logits, 0) - logits * wanted + ops.softplus(-ops.abs(logits))
        # Where nothing is learnt the anchor itself is the target, whose differences are finite.
        boxes = ops.where(ops.expand_dims(learnt, -1), outputs["anchor_boxes"], anchors)
        wrong = ops.sum(smooth_l1(found - first.deltas(boxes, anchors), PROPOSAL_BETA), axis=-1)
        anchors_drawn = ops.sum(drawn, axis=1)

        labels = outputs["roi_labels"]
        there, objects_there = ops.cast(labels >= 0, "float32"), labels > 0
        scores = ops.log_softmax(ops.cast(outputs["roi_classes"], "float32"))
        kinds = ops.one_hot(ops.maximum(labels, 0), codec.num_classes + 1)
        rois = outputs["rois"]
        # Boxes without area, of padding, have no differences.
        whole = ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0])
        safe = ops.where(ops.expand_dims(objects_there, -1), rois, whole)
        targets = ops.where(ops.expand_dims(objects_there, -1), outputs["roi_targets"], whole)
        shape = ops.shape(rois)
        guesses = ops.reshape(ops.cast(outputs["roi_boxes"], "float32"), (shape[0], -1, codec.num_classes, 4))
        own = ops.expand_dims(ops.one_hot(ops.maximum(labels - 1, 0), codec.num_classes), -1)
        guess = ops.sum(guesses * own, axis=2)
        off = ops.sum(smooth_l1(guess - codec.deltas(targets, safe), BETA), axis=-1)
        boxes_drawn = ops.sum(there, axis=1)
        return {
            "proposal_objects": (ops.sum(objects * drawn, axis=1), anchors_drawn),
            "proposal_boxes": (ops.sum(ops.where(learnt, wrong, 0.0), axis=1), anchors_drawn),
            "classes": (-ops.sum(ops.sum(scores * kinds, axis=-1) * there, axis=1), boxes_drawn),
            "boxes": (ops.sum(ops.where(objects_there, off, 0.0), axis=1), boxes_drawn),
        }

    return terms

"""The loss of a mask head (Mask R-CNN, He et al. 2017, section 3)."""

from collections.abc import Mapping

from keras import ops

from kerastransfer.ops.masks import of_class


def mask_loss(targets: Mapping, logits) -> dict:
    """Terms for TermModel, from targets {"labels": (B, R), "targets": (B, R, M, M)} and logits (B, R, M, M, K):
    {"mask": (sums (B,), counts (B,))}, whose value is the mean over all boxes of the batch.

    The loss of a box is the mean binary cross-entropy over the cells of its mask, for the true class only, so that
    classes do not compete. Boxes with label -1 are ignored.
    """
    labels, truth = targets["labels"], targets["targets"]
    own = of_class(ops.cast(logits, "float32"), labels)
    each = ops.mean(ops.binary_crossentropy(truth, own, from_logits=True), axis=(2, 3))
    counts = ops.cast(labels >= 0, "float32")
    return {"mask": (ops.sum(each * counts, axis=1), ops.sum(counts, axis=1))}

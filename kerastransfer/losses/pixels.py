"""Losses on maps of classes; void pixels count nothing."""

import keras
from keras import ops

VOID = 255


def cross_entropy(segmentation, logits):
    """segmentation (B, H, W) in [0, K) or 255, logits (B, H, W, K) to (B,): mean over the image's known pixels."""
    known, labels = _known(segmentation)
    values = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return ops.sum(values * known, axis=(1, 2)) / ops.maximum(ops.sum(known, axis=(1, 2)), 1)


def soft_dice(segmentation, logits):
    """1 - soft Dice of each foreground class in the image's truth, averaged over them: (B, H, W), logits to (B,).

    A class absent from an image's truth is left out; an image of background alone has a loss of 0.
    """
    num_classes = logits.shape[-1]
    known, labels = _known(segmentation)
    known = ops.expand_dims(known, -1)
    truth = ops.one_hot(labels, num_classes)[..., 1:] * known
    guess = ops.softmax(logits, axis=-1)[..., 1:] * known
    overlap, total = ops.sum(truth * guess, axis=(1, 2)), ops.sum(truth + guess, axis=(1, 2))
    present = ops.cast(ops.sum(truth, axis=(1, 2)) > 0, "float32")
    dice = 2 * overlap / ops.maximum(total, 1e-6)
    return ops.sum((1 - dice) * present, axis=-1) / ops.maximum(ops.sum(present, axis=-1), 1)


def pixel_loss(targets, logits) -> dict:
    """Terms for TermModel: {"cross_entropy": (B,), "dice": (B,)} of targets {"segmentation"}."""
    segmentation = targets["segmentation"]
    return {"cross_entropy": cross_entropy(segmentation, logits), "dice": soft_dice(segmentation, logits)}


def _known(segmentation):
    """Known pixels as 0 or 1, float32; and labels with void replaced by background."""
    labels = ops.cast(segmentation, "int32")
    known = labels != VOID
    return ops.cast(known, "float32"), ops.where(known, labels, 0)

"""Losses for maps of classes; void pixels are ignored."""

from keras import ops

from kerastransfer.vocabulary import VOID


def cross_entropy(segmentation, logits):
    """Cross-entropy (B,) of segmentation (B, H, W) in [0, K) or 255 and logits (B, H, W, K): the mean over the pixels
    of an image that are not void."""
    known, truth = _truth(segmentation, logits.shape[-1])
    shifted, powers = _softmax(logits)
    values = known * ops.log(ops.sum(powers, axis=0)) - ops.sum(truth * shifted, axis=0)
    return ops.sum(values, axis=(1, 2)) / ops.maximum(ops.sum(known, axis=(1, 2)), 1)


def soft_dice(segmentation, logits):
    """Dice loss (B,), 1 - soft Dice (V-Net, Milletari et al. 2016), averaged over the foreground classes of an image.

    A class that is absent from the truth of an image is left out; an image with only background has a loss of 0.
    """
    known, truth = _truth(segmentation, logits.shape[-1])
    _, powers = _softmax(logits)
    truth, guess = truth[1:], (powers / ops.sum(powers, axis=0) * known)[1:]
    overlap, total = ops.sum(truth * guess, axis=(2, 3)), ops.sum(truth + guess, axis=(2, 3))
    present = ops.cast(ops.sum(truth, axis=(2, 3)) > 0, "float32")
    dice = 2 * overlap / ops.maximum(total, 1e-6)
    return ops.sum((1 - dice) * present, axis=0) / ops.maximum(ops.sum(present, axis=0), 1)


def smooth_dice(segmentation, logits, smooth: float = 1.0, *, over: str = "image"):
    """Dice loss (B,): 1 - soft Dice with `smooth` added to numerator and denominator (as in Models Genesis, Zhou et al.
    2019), averaged over the foreground classes. Unlike in `soft_dice`, a class that an image lacks counts: the loss is
    0 only if it is not found there either.

    over: "image" for the pixels of each image, or "batch" for those of all images together, with the same value for
        each image; with several replicas, it is the batch of each replica.
    """
    known, truth = _truth(segmentation, logits.shape[-1])
    _, powers = _softmax(logits)
    truth, guess = truth[1:], (powers / ops.sum(powers, axis=0) * known)[1:]
    axes = (2, 3) if over == "image" else (1, 2, 3)
    overlap, total = ops.sum(truth * guess, axis=axes), ops.sum(truth + guess, axis=axes)
    loss = ops.mean(1 - (2 * overlap + smooth) / (total + smooth), axis=0)
    return ops.broadcast_to(loss, ops.shape(known)[:1])


def pixel_loss(targets, logits) -> dict:
    """Terms for TermModel, from targets {"segmentation"} and logits: {"cross_entropy": (B,), "dice": (B,)}."""
    segmentation = targets["segmentation"]
    return {"cross_entropy": cross_entropy(segmentation, logits), "dice": soft_dice(segmentation, logits)}


# Below, classes are the first axis: on CPUs TensorFlow's softmax takes twice as long over a last axis of two or three.


def _truth(segmentation, num_classes):
    """From (B, H, W) to the pixels that are not void (B, H, W) and those of each class (K, B, H, W), as 0 or 1."""
    segmentation = ops.cast(segmentation, "int32")
    classes = ops.reshape(ops.arange(num_classes, dtype="int32"), (-1, 1, 1, 1))
    return ops.cast(segmentation != VOID, "float32"), ops.cast(ops.equal(segmentation, classes), "float32")


def _softmax(logits):
    """From (B, H, W, K) to logits shifted so that the largest is 0, and their exponentials, (K, B, H, W) each."""
    planes = ops.moveaxis(ops.cast(logits, "float32"), -1, 0)
    shifted = planes - ops.stop_gradient(ops.max(planes, axis=0))
    return shifted, ops.exp(shifted)

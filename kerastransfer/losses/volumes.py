"""Losses for volumes: of what was restored, and of maps of classes."""

from keras import ops

from kerastransfer.losses.pixels import cross_entropy

# Models Genesis's: an absent class that is not predicted has a loss of 0.
SMOOTH = 1.0


def restoration_loss(targets, predictions) -> dict:
    """Terms for TermModel, from targets (B, D, H, W) and predictions (B, D, H, W, 1): {"mse": (B,)}, the mean squared
    difference over all voxels of a cube."""
    difference = ops.cast(predictions[..., 0], "float32") - targets
    return {"mse": ops.mean(ops.square(difference), axis=(1, 2, 3))}


def voxel_loss(targets, logits) -> dict:
    """Terms for TermModel, from targets (B, D, H, W) int32 in [0, K) and logits (B, D, H, W, K):
    {"cross_entropy": (B,), "dice": (B,)}."""
    _, depth, height, width, classes = logits.shape
    # One long image for each volume: neither term asks which voxels are neighbours.
    labels = ops.reshape(targets, (-1, depth, height * width))
    flat = ops.reshape(logits, (-1, depth, height * width, classes))
    return {"cross_entropy": cross_entropy(labels, flat), "dice": smooth_dice(labels, flat)}


def smooth_dice(labels, logits, *, smooth: float = SMOOTH):
    """Dice loss (B,) of labels (B, H, W) in [0, K) and logits (B, H, W, K): 1 - (2 * sum(p * t) + s) / (sum(p) + sum(t)
    + s) with s = `smooth` and p the softmax, averaged over the foreground classes.

    The sums are over one image (Models Genesis sums over a batch), so that the loss does not depend on its company.
    """
    classes = logits.shape[-1]
    guess = ops.softmax(ops.cast(logits, "float32"), axis=-1)[..., 1:]
    truth = ops.cast(ops.equal(labels[..., None], ops.arange(1, classes, dtype=labels.dtype)), "float32")
    overlap, total = ops.sum(truth * guess, axis=(1, 2)), ops.sum(truth + guess, axis=(1, 2))
    return ops.mean(1 - (2 * overlap + smooth) / (total + smooth), axis=-1)

"""Losses for volumes: of what was restored, and of maps of classes."""

from keras import ops

from kerastransfer.losses.pixels import cross_entropy, smooth_dice


def restoration_loss(targets, predictions) -> dict:
    """Terms for TermModel, from targets (B, D, H, W) and predictions (B, D, H, W, 1): {"mse": (B,)}, the mean squared
    difference over all voxels of a cube."""
    difference = ops.cast(predictions[..., 0], "float32") - targets
    return {"mse": ops.mean(ops.square(difference), axis=(1, 2, 3))}


def voxel_loss(targets, logits) -> dict:
    """Terms for TermModel, from targets (B, D, H, W) int32 in [0, K) and logits (B, D, H, W, K):
    {"cross_entropy": (B,), "dice": (B,)}, of one volume each, where Models Genesis sums over a batch, so that a loss
    does not depend on its company."""
    _, depth, height, width, classes = logits.shape
    # One long image for each volume: neither term asks which voxels are neighbours.
    labels = ops.reshape(targets, (-1, depth, height * width))
    flat = ops.reshape(logits, (-1, depth, height * width, classes))
    return {"cross_entropy": cross_entropy(labels, flat), "dice": smooth_dice(labels, flat)}

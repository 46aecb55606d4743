"""Masks that a head predicts, one for each class."""

from keras import ops


def of_class(masks, labels):
    """Each box's mask of its own class: masks (B, N, M, M, K), labels (B, N) to (B, N, M, M); where the label is -1,
    zeros. A single mask for all classes (K = 1) is of every label."""
    num_classes = masks.shape[-1]
    channel = ops.minimum(ops.cast(labels, "int32"), num_classes - 1)
    return ops.einsum("bnijk,bnk->bnij", masks, ops.one_hot(channel, num_classes, dtype=masks.dtype))

"""Selects from masks that a head predicts for each class."""

from keras import ops


def of_class(masks, labels):
    """The mask of each box for its own class: from masks (B, N, M, M, K), labels (B, N) to (B, N, M, M), zeros if the
    label is -1. With K = 1 the single mask is used for all labels."""
    num_classes = masks.shape[-1]
    channel = ops.minimum(ops.cast(labels, "int32"), num_classes - 1)
    return ops.einsum("bnijk,bnk->bnij", masks, ops.one_hot(channel, num_classes, dtype=masks.dtype))

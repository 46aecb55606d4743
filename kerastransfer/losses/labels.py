"""The loss for classes of whole images."""

from collections.abc import Mapping

from keras import ops


def label_loss(targets: Mapping, logits, *, smoothing: float = 0.0) -> dict:
    """Terms for TermModel, from targets {"label": (B,) int32 in [0, K)} and logits (B, K): {"cross_entropy": (B,)}.

    smoothing: share of the target that is spread over all classes (Szegedy et al. 2016, section 7).
    """
    classes = logits.shape[-1]
    wanted = ops.one_hot(targets["label"], classes, dtype="float32") * (1 - smoothing) + smoothing / classes
    return {"cross_entropy": -ops.sum(wanted * ops.log_softmax(ops.cast(logits, "float32"), axis=-1), axis=-1)}

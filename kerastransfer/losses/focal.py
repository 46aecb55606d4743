"""The focal loss (Lin et al. 2017, section 3)."""

from keras import ops


def focal(logits, targets, *, alpha: float = 0.25, gamma: float = 2.0):
    """Elementwise, for targets of 0 and 1: the binary cross-entropy, times the share of the probability that is wrong
    to the power of `gamma`, times `alpha` where the target is 1 and 1 - `alpha` where it is 0."""
    cross_entropy = ops.maximum(logits, 0) - logits * targets + ops.softplus(-ops.abs(logits))
    wrong = ops.sigmoid(ops.where(targets > 0.5, -logits, logits))
    return ops.where(targets > 0.5, alpha, 1 - alpha) * wrong**gamma * cross_entropy

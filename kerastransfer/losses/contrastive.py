"""The contrastive loss of SimCLR (Chen et al. 2020, section 2.1)."""

from collections.abc import Callable
from typing import Any

from keras import ops

# Of rows (B, D) to those of all replicas (N, D), and the place of the first row there.
Everyone = Callable[[Any], tuple[Any, Any]]


def nt_xent(first, second, temperature: float = 0.5, *, everyone: Everyone | None = None):
    """NT-Xent (B,) of two views of B images, embedded (B, D) each: how hard it is to find an image's other
    view among all views of the other images, by cosine similarity.

    The cross-entropies of both views are added, not averaged. everyone: gathers the views of other replicas, so that
    they are candidates too; by default those of this batch are all. The backward pass computes similarities again
    instead of keeping them: at most two matrices (B, N) are held at a time.
    """
    first, second = _unit(first), _unit(second)
    all_first, start = (first, 0) if everyone is None else everyone(first)
    all_second, _ = (second, 0) if everyone is None else everyone(second)
    return _cross_entropies(first, second, all_first, all_second, start, temperature)


def alike(first, second):
    """The share of images (B,), 0 or 1 each, whose nearest among all second views is their own."""
    similarity = ops.matmul(_unit(first), ops.transpose(_unit(second)))
    own = ops.arange(ops.shape(similarity)[0], dtype="int32")
    return ops.cast(ops.equal(ops.cast(ops.argmax(similarity, axis=-1), "int32"), own), "float32")


def _unit(rows):
    rows = ops.cast(rows, "float32")
    # The gradient of a norm is not a number where the norm is 0.
    return rows * ops.rsqrt(ops.maximum(ops.sum(ops.square(rows), axis=-1, keepdims=True), 1e-24))


def _cross_entropies(first, second, all_first, all_second, start, temperature):
    own = start + ops.arange(ops.shape(first)[0], dtype="int32")

    def similarities(rows, others):
        return ops.matmul(rows, ops.transpose(others)) / temperature

    def apart(values):
        """Without each view's similarity to itself."""
        columns = ops.arange(ops.shape(values)[1], dtype="int32")
        return ops.where(ops.expand_dims(own, 1) == ops.expand_dims(columns, 0), -1e9, values)

    def spread(rows, across, same):
        """The logarithm of the sum over all candidates, (B,)."""
        return ops.logaddexp(
            ops.logsumexp(similarities(rows, across), axis=-1),
            ops.logsumexp(apart(similarities(rows, same)), axis=-1),
        )

    @ops.custom_gradient
    def loss(first, second, all_first, all_second):
        sums = spread(first, all_second, all_first), spread(second, all_first, all_second)
        value = sums[0] + sums[1] - 2 * ops.sum(first * second, axis=-1) / temperature

        def gradient(*args, upstream=None):
            slope = ops.expand_dims((args[0] if upstream is None else upstream) / temperature, 1)

            def through(rows, across, same, total):
                """What comes back to the rows and to both kinds of candidates."""
                total = ops.expand_dims(total, 1)
                likely = slope * ops.exp(similarities(rows, across) - total)
                to_rows, to_across = ops.matmul(likely, across), ops.matmul(ops.transpose(likely), rows)
                likely = slope * ops.exp(apart(similarities(rows, same)) - total)
                return to_rows + ops.matmul(likely, same), to_across, ops.matmul(ops.transpose(likely), rows)

            one, one_across, one_same = through(first, all_second, all_first, sums[0])
            other, other_across, other_same = through(second, all_first, all_second, sums[1])
            return (
                one - 2 * slope * second,
                other - 2 * slope * first,
                one_same + other_across,
                one_across + other_same,
            )

        return value, gradient

    return loss(first, second, all_first, all_second)

"""The contrastive loss of SimCLR (Chen et al. 2020, section 2.1)."""

from collections.abc import Callable
from typing import Any

from keras import ops

# Rows whose similarities are computed at a time.
BLOCK = 512

# Of rows (B, D) to those of all replicas (N, D), and the place of the first row there.
Everyone = Callable[[Any], tuple[Any, Any]]


def nt_xent(first, second, temperature: float = 0.5, *, everyone: Everyone | None = None):
    """NT-Xent (B,) of two views of B images, embedded (B, D) each: how hard it is to find an image's other
    view among all views of the other images, by cosine similarity.

    The cross-entropies of both views are added, not averaged. everyone: gathers the views of other replicas, so that
    they are candidates too; by default those of this batch are all. The backward pass computes similarities again
    instead of keeping them, and both passes go through large batches in blocks: they take less memory than the matrix
    of similarities would.
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

    def apart(values, own):
        """Without each view's similarity to itself."""
        columns = ops.arange(ops.shape(values)[1], dtype="int32")
        return ops.where(ops.expand_dims(own, 1) == ops.expand_dims(columns, 0), -1e9, values)

    def spread(rows, across, same, own):
        """The logarithm of the sum over all candidates, (B,)."""
        return ops.logaddexp(
            ops.logsumexp(similarities(rows, across), axis=-1),
            ops.logsumexp(apart(similarities(rows, same), own), axis=-1),
        )

    @ops.custom_gradient
    def loss(first, second, all_first, all_second):
        def sums_of(rows):
            one, other, own = rows
            return spread(one, all_second, all_first, own), spread(other, all_first, all_second, own)

        empty = ops.zeros_like(first[:, 0])
        _, sums = _in_blocks(lambda carry, rows: (carry, sums_of(rows)), 0.0, (first, second, own), (empty, empty))
        value = sums[0] + sums[1] - 2 * ops.sum(first * second, axis=-1) / temperature

        def gradient(*args, upstream=None):
            slope = (args[0] if upstream is None else upstream) / temperature

            def through(rows, across, same, own, total, slope):
                """What comes back to the rows and to both kinds of candidates."""
                slope, total = ops.expand_dims(slope, 1), ops.expand_dims(total, 1)
                likely = slope * ops.exp(similarities(rows, across) - total)
                to_rows, to_across = ops.matmul(likely, across), ops.matmul(ops.transpose(likely), rows)
                likely = slope * ops.exp(apart(similarities(rows, same), own) - total)
                return to_rows + ops.matmul(likely, same), to_across, ops.matmul(ops.transpose(likely), rows)

            def step(carry, rows):
                one, other, own, one_total, other_total, slope = rows
                to_one, one_across, one_same = through(one, all_second, all_first, own, one_total, slope)
                to_other, other_across, other_same = through(other, all_first, all_second, own, other_total, slope)
                carry = carry[0] + one_same + other_across, carry[1] + one_across + other_same
                twice = 2 * ops.expand_dims(slope, 1)
                return carry, (to_one - twice * other, to_other - twice * one)

            zeros = ops.zeros_like(all_first), ops.zeros_like(all_second)
            empty = ops.zeros_like(first), ops.zeros_like(second)
            to_all, to_rows = _in_blocks(step, zeros, (first, second, own, *sums, slope), empty)
            return *to_rows, *to_all

        return value, gradient

    return loss(first, second, all_first, all_second)


def _in_blocks(step, carry, rows, results):
    """`step(carry, rows) -> (carry, results)` over arrays (B, ...), one block of rows after the other, so that no more
    than BLOCK rows of similarities are held at a time. results: arrays (B, ...) to fill."""
    count = rows[0].shape[0]
    block = count and max(size for size in range(1, min(count, BLOCK) + 1) if count % size == 0)
    # A number without a suitable divisor, or one that is not known before, is one block.
    if not block or block == count or block <= BLOCK // 8:
        return step(carry, rows)

    # `ops.scan` wants results of the carry's shape on TensorFlow.
    def body(number, state):
        carry, results = state
        own = [ops.slice(one, (number * block, *[0] * (one.ndim - 1)), (block, *one.shape[1:])) for one in rows]
        carry, found = step(carry, own)
        results = tuple(
            ops.slice_update(whole, (number * block, *[0] * (whole.ndim - 1)), part)
            for whole, part in zip(results, found, strict=True)
        )
        return carry, results

    return ops.fori_loop(0, count // block, body, (carry, results))

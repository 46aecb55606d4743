"""NT-Xent: a naive loop, closed forms, and gradients against automatic ones."""

import keras
import numpy as np
import pytest
from harness import array, compiled, with_gradient
from keras import ops

from kerastransfer.losses import contrastive
from kerastransfer.losses.contrastive import alike, nt_xent


def drawn(images=6, features=5, seed=0):
    random = np.random.default_rng(seed)
    return (random.normal(size=(images, features)).astype("float32") for _ in range(2))


def naive(first, second, temperature):
    """One view after the other, as the formula is written."""
    views = np.concatenate([first, second]).astype("float64")
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    number = len(first)
    found = np.zeros(number)
    for view in range(2 * number):
        other = (view + number) % (2 * number)
        total = sum(np.exp(views[view] @ views[k] / temperature) for k in range(2 * number) if k != view)
        found[view % number] -= np.log(np.exp(views[view] @ views[other] / temperature) / total)
    return found


def by_matrix(first, second, temperature):
    """The same by automatic differentiation."""
    views = ops.concatenate([first, second])
    views = views / ops.norm(views, axis=1, keepdims=True)
    number = 2 * first.shape[0]
    logits = ops.matmul(views, ops.transpose(views)) / temperature - 1e9 * ops.eye(number)
    own = ops.one_hot((ops.arange(number) + number // 2) % number, number)
    each = ops.logsumexp(logits, axis=1) - ops.sum(own * logits, axis=1)
    return each[: number // 2] + each[number // 2 :]


@pytest.mark.parametrize("temperature", [0.5, 0.1])
def test_a_naive_loop_gives_the_same(temperature):
    first, second = drawn()
    np.testing.assert_allclose(array(nt_xent(first, second, temperature)), naive(first, second, temperature), 1e-5)


def test_equal_views_of_images_that_have_nothing_in_common():
    first = np.eye(4, dtype="float32")
    np.testing.assert_allclose(array(nt_xent(first, 3 * first)), 2 * np.log(np.exp(2) + 6) - 4, rtol=1e-6)


def test_views_may_be_swapped_and_scaled():
    first, second = drawn()
    wanted = array(nt_xent(first, second))
    np.testing.assert_allclose(array(nt_xent(second * 9, first)), wanted, rtol=1e-5)


def test_an_image_alone_costs_nothing():
    np.testing.assert_allclose(array(nt_xent(*drawn(1))), 0, atol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_gradients_are_those_of_automatic_differentiation(jit):
    first, second = drawn()
    weights = np.arange(1, 7, dtype="float32")

    def summed(loss):
        return lambda x: (ops.sum(weights * loss(x["first"], x["second"], 0.5)), 0.0)

    given = {"first": first, "second": second}
    _, found = compiled(with_gradient(summed(nt_xent)), jit=jit)(given)
    _, wanted = compiled(with_gradient(summed(by_matrix)), jit=jit)(given)
    for name in given:
        np.testing.assert_allclose(array(found[name]), array(wanted[name]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("images", "blocks"), [(6, True), (13, False)])
def test_blocks_change_nothing(images, blocks, monkeypatch):
    """Where the number can be divided, rows are taken in turn; where it cannot, all at once."""
    first, second = drawn(images)
    given, weights = {"first": first, "second": second}, np.arange(images, dtype="float32")

    def found():
        each = with_gradient(lambda x: (ops.sum(weights * nt_xent(x["first"], x["second"])), nt_xent(**x)))
        return keras.tree.flatten(compiled(each)(given))

    wanted, loops, loop = found(), [], ops.fori_loop
    monkeypatch.setattr(contrastive, "BLOCK", 3 if blocks else 12)
    monkeypatch.setattr(ops, "fori_loop", lambda *given: loops.append(given[1]) or loop(*given))
    for one, other in zip(found(), wanted, strict=True):
        np.testing.assert_allclose(array(one), array(other), rtol=1e-4, atol=1e-6)
    assert set(loops) == ({2} if blocks else set())


if keras.backend.backend() == "jax":
    # The compiler of JAX states the memory before anything runs.
    def test_a_large_batch_takes_less_memory_than_its_similarities():
        import jax

        rows = jax.ShapeDtypeStruct((2048, 32), "float32")
        slope = jax.jit(jax.grad(lambda first, second: nt_xent(first, second).mean(), (0, 1)))
        taken = slope.lower(rows, rows).compile().memory_analysis().temp_size_in_bytes
        # In blocks of 512, eight of them at a time would be two matrices.
        assert taken < 2 * 4 * 2048 * 2048


def test_views_of_other_replicas_are_candidates():
    first, second = drawn(6)
    whole = array(nt_xent(first, second))
    for start in (0, 3):
        both = iter((first, second))

        def everyone(_, both=both, start=start):
            rows = next(both)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True), start

        own = slice(start, start + 3)
        part = array(nt_xent(first[own], second[own], everyone=everyone))
        np.testing.assert_allclose(part, whole[own], rtol=1e-5)


def test_whether_the_nearest_view_is_the_own():
    first = np.eye(3, dtype="float32")
    np.testing.assert_array_equal(array(alike(first, first[[0, 2, 1]])), [1, 0, 0])


def test_embeddings_of_zeros_have_finite_losses_and_gradients():
    given = {name: np.zeros((3, 4), "float32") for name in ("first", "second")}
    loss = with_gradient(lambda x: (ops.sum(nt_xent(x["first"], x["second"])), 0.0))
    (value, _), found = compiled(loss, jit=False)(given)
    assert np.isfinite(array(value))
    assert all(np.isfinite(array(one)).all() for one in found.values())

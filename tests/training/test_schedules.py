"""Learning rates against their closed forms."""

import math

import keras
import numpy as np
import pytest

from kerastransfer.training.schedules import Steps, cosine, schedule


def rates(of, steps):
    return np.array([float(of(step)) for step in range(steps)])


def test_cosine_with_warm_up():
    found = rates(cosine(0.4, 100, warmup=20, final=0.1), 121)
    np.testing.assert_allclose(found[:21], 0.4 * np.arange(21) / 20, atol=1e-6)
    along = (np.arange(20, 101) - 20) / 80
    np.testing.assert_allclose(found[20:101], 0.4 * (0.1 + 0.9 * (1 + np.cos(math.pi * along)) / 2), atol=1e-6)
    np.testing.assert_allclose(found[100:], 0.04, atol=1e-6)


def test_cosine_without_warm_up():
    found = rates(cosine(0.4, 10), 11)
    np.testing.assert_allclose(found[[0, 5, 10]], [0.4, 0.4 * 0.505, 0.004], atol=1e-6)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 5), (2, 5), (5, 5)])
def test_cosine_of_a_short_run_is_finite_and_rises_to_its_peak_at_most(steps, warmup):
    found = rates(cosine(0.4, steps, warmup=warmup), steps + 1)
    assert np.isfinite(found).all() and found.max() <= 0.4 + 1e-6 and found.min() >= 0


def test_steps():
    """5e-4 up in 4 steps, a tenth from 10 on, a hundredth from 15 on."""
    found = rates(Steps(5e-4, [10, 15], warmup=4), 20)
    np.testing.assert_allclose(found[:5], 5e-4 * np.arange(5) / 4, rtol=1e-5)
    np.testing.assert_allclose(found[[9, 10, 14, 15, 19]], [5e-4, 5e-5, 5e-5, 5e-6, 5e-6], rtol=1e-5)


def test_schedules_by_name():
    np.testing.assert_allclose(rates(schedule("cosine", 0.1, 50, warmup=5), 51), rates(cosine(0.1, 50, warmup=5), 51))
    np.testing.assert_allclose(rates(schedule("steps", 1.0, 90), 90), [1.0] * 60 + [0.1] * 20 + [0.01] * 10, rtol=1e-5)
    np.testing.assert_allclose(rates(schedule("constant", 0.1, 9, warmup=2), 4), [0, 0.05, 0.1, 0.1], rtol=1e-5)
    np.testing.assert_allclose(rates(schedule("constant", 0.1, 9), 3), [0.1] * 3, rtol=1e-5)


@pytest.mark.parametrize("kind", ["cosine", "steps", "constant"])
@pytest.mark.parametrize("warmup", [0, 2])
def test_an_optimizer_follows_and_can_be_stored(kind, warmup):
    of = schedule(kind, 0.1, 9, warmup=warmup)
    stored = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(of))
    np.testing.assert_allclose(rates(stored, 9), rates(of, 9))
    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(x))
    model.compile(keras.optimizers.SGD(of), loss=lambda y, out: -out[:, 0])  # the slope is -1
    model.fit(np.ones((5, 1)), np.ones(5), batch_size=1, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0][0, 0], rates(of, 5).sum(), rtol=1e-4)

"""Losses of volumes against their formulas."""

import keras
import numpy as np
import pytest

from kerastransfer.losses import volumes


def test_restoration_is_the_mean_squared_difference():
    rng = np.random.default_rng(0)
    target, guess = rng.random((3, 2, 4, 5), "float32"), rng.random((3, 2, 4, 5, 1), "float32")
    found = volumes.restoration_loss(target, guess)
    assert set(found) == {"mse"}
    np.testing.assert_allclose(found["mse"], ((guess[..., 0] - target) ** 2).mean((1, 2, 3)), rtol=1e-5)


def test_terms_against_a_loop():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 3, 4, 5, 3)).astype("float32")
    labels = rng.integers(0, 3, (2, 3, 4, 5)).astype("int32")
    found = volumes.voxel_loss(labels, logits)
    for image in range(2):
        powers = np.exp(logits[image])
        share = powers / powers.sum(-1, keepdims=True)
        entropy, dices = 0.0, []
        for place in np.ndindex(3, 4, 5):
            entropy -= np.log(share[(*place, labels[image][place])]) / 60
        for label in (1, 2):
            p, t = share[..., label], labels[image] == label
            dices.append(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
        assert float(found["cross_entropy"][image]) == pytest.approx(entropy, rel=1e-4)
        assert float(found["dice"][image]) == pytest.approx(np.mean(dices), rel=1e-4)


def test_certain_truth_costs_nothing_even_without_objects():
    labels = np.zeros((2, 2, 4, 4), "int32")
    labels[0, 0, 1:3, 1:3] = 1
    logits = 60 * np.eye(3, dtype="float32")[labels]
    for term in volumes.voxel_loss(labels, logits).values():
        np.testing.assert_allclose(keras.ops.convert_to_numpy(term), 0, atol=1e-5)

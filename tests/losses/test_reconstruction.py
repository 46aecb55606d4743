"""Restored images: errors by hand, and what each decoding task should give."""

import numpy as np
from harness import array

from kerastransfer.losses.reconstruction import mse, wanted


def test_error_by_hand():
    logits = np.zeros((2, 1, 2, 1), "float32")
    truth = np.array([[[[0.5], [1.0]]], [[[0.0], [0.0]]]], "float32")
    np.testing.assert_allclose(array(mse(truth, logits)), [0.125, 0.25])


def test_a_perfect_restoration_costs_nothing():
    truth = np.random.default_rng(0).uniform(0.1, 0.9, (2, 4, 4, 3)).astype("float32")
    np.testing.assert_allclose(array(mse(truth, np.log(truth / (1 - truth)))), 0, atol=1e-10)


def test_what_the_tasks_should_give():
    image = np.full((1, 2, 2, 3), 255.0, "float32")
    colours, altered = image / 5, np.array([[[1, 0], [0, 0]]], "float32")
    found = {
        name: array(wanted(name, image, colours, altered))
        for name in ("reconstruction", "colours", "altered", "blackened")
    }
    np.testing.assert_allclose(found["reconstruction"], 1)
    np.testing.assert_allclose(found["colours"], 0.2)
    np.testing.assert_allclose(found["altered"][..., 0], altered)
    np.testing.assert_allclose(found["blackened"][0, 0, 0], 0)
    np.testing.assert_allclose(found["blackened"][0, 1], 1)

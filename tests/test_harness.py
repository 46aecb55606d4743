"""A net that is off by chance is built anew; one that never trains fails."""

import harness
import keras
import numpy as np
import pytest


def built_in_turn(*first):
    """A case whose first weights are those given, one after the other, in front of a ReLU."""
    turns = iter(first)

    def build():
        layer = keras.layers.Dense(1, activation="relu", use_bias=False, name="dense")
        layer.build((None, 2))
        layer.set_weights([np.array([[next(turns)], [0.5]])])
        return layer

    return harness.Case(build, lambda: (np.array([[1.0, 1.0]] * harness.ROWS, "float32"),))


def test_another_start_is_tried():
    harness.check_training(built_in_turn(-9.0, 1.0))


def test_what_never_trains_fails():
    with pytest.raises(AssertionError, match=r"no gradient reaches .*dense/kernel"):
        harness.check_training(built_in_turn(*[-9.0] * harness.STARTS, -9.0))

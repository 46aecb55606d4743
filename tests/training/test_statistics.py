"""Estimated batch statistics against those that the batches have."""

import keras
import numpy as np
import pytest

from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.training import statistics, transfer

BATCHES = [np.random.default_rng(seed).normal(3 + seed, 2, (4, 8, 8, 3)).astype("float32") for seed in range(3)]


def part(norm, depth=0):
    """A norm of the image, then a convolution and a norm; within so many other parts."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = norm(name="first", momentum=0.9)(image)
    inner = keras.Model(image, norm(name="second", momentum=0.8)(keras.layers.Conv2D(2, 3, name="conv")(x)), name="0")
    for number in range(depth):
        image = keras.Input((None, None, 3))
        inner = keras.Model(image, inner(image), name=f"{number + 1}")
    return inner


@pytest.mark.parametrize("norm", [BatchNorm, keras.layers.BatchNormalization], ids=["ours", "keras"])
@pytest.mark.parametrize("depth", [0, 2])
def test_the_statistics_are_the_mean_over_batches(norm, depth):
    """Of the first norm, the input's own; of the second, what makes its output normal. Momenta are as before."""
    found = part(norm, depth)
    statistics.estimate(found, BATCHES)
    values = transfer.weights(found)
    mean = np.mean([batch.mean((0, 1, 2)) for batch in BATCHES], 0)
    variance = np.mean([batch.var((0, 1, 2)) for batch in BATCHES], 0)
    np.testing.assert_allclose(values["first/moving_mean"], mean, rtol=1e-5)
    # Unbiased where TensorFlow's fused kernel computes it.
    np.testing.assert_allclose(values["first/moving_variance"], variance, rtol=5e-3)
    out = keras.ops.convert_to_numpy(found(BATCHES[1], training=False))
    assert (np.abs(out.mean((0, 1, 2))) < 1).all() and (np.abs(np.log(out.var((0, 1, 2)))) < 0.5).all()
    assert sorted(layer.momentum for layer in statistics.batch_norms(found)) == [0.8, 0.9]


@pytest.mark.slow
def test_an_encoder_of_keras_applications():
    keras.utils.set_random_seed(0)
    build = keras.applications.MobileNetV2
    encoder = build(input_shape=(None, None, 3), alpha=0.35, include_top=False, weights=None)
    before = transfer.weights(encoder)
    images = [np.random.default_rng(seed).uniform(-1, 1, (4, 64, 64, 3)).astype("float32") for seed in range(2)]
    statistics.estimate(encoder, images)
    moved = [name for name, value in transfer.weights(encoder).items() if np.any(value != before[name])]
    assert len(moved) == 2 * 52 and all("moving" in name for name in moved)


def test_a_part_without_batch_norm_stays_as_it_is():
    image = keras.Input((None, None, 3))
    plain = keras.Model(image, keras.layers.Conv2D(2, 3)(image))
    before = transfer.checksum(plain)
    statistics.estimate(plain, BATCHES)
    assert transfer.checksum(plain) == before

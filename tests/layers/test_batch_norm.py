"""The fused batch norm against Keras's own layer; its two kinds of freezing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastransfer.layers.batch_norm import BatchNorm

MOMENTUM, EPSILON = 0.9, 1e-3


def pair(axes=4, **options):
    """Ours and Keras's, with the same random weights, for inputs of so many axes."""
    layers = [
        make(momentum=MOMENTUM, epsilon=EPSILON, **options) for make in (BatchNorm, keras.layers.BatchNormalization)
    ]
    random = np.random.default_rng(1)
    weights = [random.uniform(0.5, 1.5, 5).astype("float32") for _ in range(4)]
    for layer in layers:
        layer.build((*[None] * (axes - 1), 5))
        layer.set_weights(weights)
    return layers


def inputs(dtype="float32"):
    return tf.cast(np.random.default_rng(2).normal(3, 2, (4, 6, 7, 5)), dtype)


def test_inference_equals_keras():
    ours, theirs = pair()
    for training in (None, False):
        np.testing.assert_allclose(ours(inputs(), training=training), theirs(inputs(), training=training), atol=1e-5)
    assert ours.moving_mean.numpy().tolist() == theirs.moving_mean.numpy().tolist()


def test_training_equals_keras_but_for_the_unbiased_variance():
    ours, theirs = pair()
    before = ours.moving_variance.numpy()
    np.testing.assert_allclose(ours(inputs(), training=True), theirs(inputs(), training=True), atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    places = 4 * 6 * 7
    variance = inputs().numpy().var((0, 1, 2)) * places / (places - 1)
    np.testing.assert_allclose(ours.moving_variance, MOMENTUM * before + (1 - MOMENTUM) * variance, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_keras(training):
    found = []
    for layer in pair():
        x = inputs()
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x, training=training) ** 3)
        found.append(tape.gradient(total, [x, layer.gamma.value, layer.beta.value]))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("training", [True, False])
def test_compiled_equals_eager(training):
    eager, compiled = BatchNorm(momentum=MOMENTUM), BatchNorm(momentum=MOMENTUM)
    for layer in (eager, compiled):
        layer.build((None, None, None, 5))
    function = tf.function(compiled, jit_compile=True)
    np.testing.assert_allclose(function(inputs(), training=training), eager(inputs(), training=training), atol=1e-5)
    for ours, theirs in zip(compiled.get_weights(), eager.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_goes_in_and_out_and_statistics_stay_float32(dtype, training):
    half, full = BatchNorm(dtype=f"mixed_{dtype}", momentum=MOMENTUM), BatchNorm(momentum=MOMENTUM)
    out = half(inputs(dtype), training=training)
    assert out.dtype == dtype and {w.dtype for w in half.weights} == {"float32"}
    np.testing.assert_allclose(tf.cast(out, "float32"), full(inputs(), training=training), atol=0.05)
    np.testing.assert_allclose(half.moving_variance, full.moving_variance, rtol=0.01)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("training", [True, False])
def test_its_own_weights_may_be_of_half_precision(dtype, training):
    """As under `keras.config.set_dtype_policy("bfloat16")`."""
    half, full = BatchNorm(dtype=dtype, momentum=MOMENTUM), BatchNorm(momentum=MOMENTUM)
    out = half(inputs(dtype), training=training)
    assert out.dtype == dtype and {w.dtype for w in half.weights} == {dtype}
    np.testing.assert_allclose(tf.cast(out, "float32"), full(inputs(), training=training), atol=0.05)
    np.testing.assert_allclose(tf.cast(half.moving_mean, "float32"), full.moving_mean, atol=0.01)
    np.testing.assert_allclose(tf.cast(half.moving_variance, "float32"), full.moving_variance, rtol=0.01)


def test_inputs_that_are_no_maps_go_through_keras():
    x = np.random.default_rng(3).normal(3, 2, (64, 5)).astype("float32")
    out = BatchNorm()(x, training=True)
    np.testing.assert_allclose(np.mean(out, 0), 0, atol=1e-5)


def test_frozen_keeps_its_statistics_even_in_training():
    ours, theirs = pair()
    ours.trainable = False
    before = ours.get_weights()
    np.testing.assert_allclose(ours(inputs(), training=True), theirs(inputs(), training=False), atol=1e-5)
    np.testing.assert_array_equal(ours.get_weights(), before)


def test_drifting_moves_statistics_alone():
    ours, theirs = pair()
    ours.trainable, ours.drift = False, True
    gamma, beta, *before = ours.get_weights()
    np.testing.assert_allclose(ours(inputs(), training=True), theirs(inputs(), training=True), atol=1e-4)
    assert not ours.trainable_variables
    np.testing.assert_array_equal(ours.get_weights()[:2], [gamma, beta])
    assert np.all(np.array(ours.get_weights()[2:]) != before)
    before = ours.get_weights()
    np.testing.assert_allclose(ours(inputs(), training=False), ours(inputs()), atol=0)
    np.testing.assert_array_equal(ours.get_weights(), before)


def test_one_value_per_channel_has_no_infinite_variance():
    layer = BatchNorm()
    assert np.isfinite(layer(np.ones((1, 1, 1, 3), "float32"), training=True)).all()
    assert np.isfinite(layer.get_weights()).all()


def test_stored_with_a_model(tmp_path):
    image = keras.Input((None, None, 5))
    model = keras.Model(image, BatchNorm(drift=True, momentum=0.9, epsilon=1e-4, name="bn")(image))
    model(inputs(), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    layer = loaded.get_layer("bn")
    assert type(layer) is BatchNorm and (layer.drift, layer.momentum, layer.epsilon) == (True, 0.9, 1e-4)
    np.testing.assert_array_equal(loaded(inputs()), model(inputs()))


def test_defaults_are_darknets():
    layer = BatchNorm()
    assert (layer.momentum, layer.epsilon, layer.drift) == (0.99, 1e-5, False)


@pytest.mark.parametrize("training", [True, False])
def test_volumes_are_normalised_as_keras_does(training):
    """(B, D, H, W, C): statistics are those of all voxels of a channel."""
    ours, theirs = pair(5)
    volumes = tf.cast(np.random.default_rng(3).normal(3, 2, (2, 3, 4, 6, 5)), "float32")
    out = ours(volumes, training=training)
    np.testing.assert_allclose(out, theirs(volumes, training=training), atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    assert out.shape == volumes.shape
    symbolic = BatchNorm()(keras.Input((None, None, 6, 5)))
    assert symbolic.shape == (None, None, None, 6, 5)

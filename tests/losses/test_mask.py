"""The loss of masks: the channel of the truth alone, over the boxes of a batch."""

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.losses.mask import mask_loss
from kerastransfer.training.terms import TermModel


def case(seed=0, batch=3, boxes=4, side=5, num_classes=6):
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, (batch, boxes)).astype("int32")
    labels[0, 2:], labels[1] = -1, -1
    targets = {"labels": labels, "targets": random.integers(0, 2, (batch, boxes, side, side)).astype("float32")}
    return targets, random.normal(0, 2, (batch, boxes, side, side, num_classes)).astype("float32")


def loss(targets, logits):
    """The mean over the boxes of each image, 0 where there are none."""
    sums, counts = map(np.asarray, mask_loss(targets, logits)["mask"])
    np.testing.assert_array_equal(counts, (targets["labels"] >= 0).sum(1))
    return sums / np.maximum(counts, 1)


def test_against_a_loop():
    targets, logits = case()
    for image, found in enumerate(loss(targets, logits)):
        values = []
        for box, label in enumerate(targets["labels"][image]):
            if label >= 0:
                p = 1 / (1 + np.exp(-logits[image, box, :, :, label].astype("float64")))
                t = targets["targets"][image, box]
                values.append(-t * np.log(p) - (1 - t) * np.log(1 - p))
        np.testing.assert_allclose(found, np.mean(values) if values else 0, rtol=1e-5)


def test_logits_of_zero_cost_log_2():
    targets, logits = case()
    np.testing.assert_allclose(loss(targets, 0 * logits), [np.log(2), 0, np.log(2)], rtol=1e-6)


def test_other_classes_change_nothing():
    targets, logits = case()
    own = np.arange(6) == targets["labels"][..., None]
    other = np.where(own[:, :, None, None], logits, 50 * logits[..., ::-1])
    assert np.abs(other - logits).max() > 100
    np.testing.assert_allclose(loss(targets, other), loss(targets, logits), rtol=1e-6)


def test_padding_counts_nothing():
    targets, logits = case()
    padded = targets["labels"] < 0
    other = {**targets, "targets": np.where(padded[..., None, None], 1 - targets["targets"], targets["targets"])}
    changed = np.where(padded[..., None, None, None], 30.0, logits).astype("float32")
    np.testing.assert_array_equal(loss(other, changed), loss(targets, logits))


def test_one_mask_for_all_classes():
    targets, logits = case()
    one = logits[..., :1]
    same = {**targets, "labels": np.minimum(targets["labels"], 0)}
    np.testing.assert_allclose(loss(targets, one), loss(same, one))
    assert loss(targets, one)[0] > 0


def test_a_model_is_trained_on_the_mean_over_all_boxes_of_the_batch():
    """Not on the mean of the images' means, in which the boxes of a crowd would count less."""
    targets, logits = case()
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model = TermModel(network, lambda _, predictions: mask_loss(targets, logits), {"mask": 1.0})
    model.compile(keras.optimizers.SGD(0.0))
    found = model.test_on_batch(np.zeros((3, 1), "float32"), np.zeros((3, 1), "float32"), return_dict=True)
    each = [
        np.mean(
            loss(
                {key: value[image : image + 1, box : box + 1] for key, value in targets.items()},
                logits[image : image + 1, box : box + 1],
            )
        )
        for image, box in zip(*np.nonzero(targets["labels"] >= 0), strict=True)
    ]
    assert len(each) == 6 and found["loss"] == pytest.approx(np.mean(each), rel=1e-5)


def differentiated(function, at):
    """A function's value and gradient, by the backend's own differentiation."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.value_and_grad(function)(at)
    import tensorflow as tf

    at = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return value, tape.gradient(value, at).numpy()


def test_gradients_are_finite_and_of_the_own_class_alone():
    """Of logits as large as they come, and with an image without a box."""
    targets, logits = case()
    logits[..., 0, 0, :] = [1e4, -1e4, 300, -300, 0, 88]
    total, gradient = differentiated(lambda logits: ops.sum(mask_loss(targets, logits)["mask"][0]), logits)
    assert np.isfinite(gradient).all() and np.isfinite(total)
    own = np.arange(6) == targets["labels"][..., None]
    touched = np.abs(gradient).max((2, 3))
    assert (touched[own] > 0).all() and not touched[~own].any()

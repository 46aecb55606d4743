"""Losses on class maps against closed forms and a plain loop."""

import keras
import numpy as np
import pytest
from keras import ops

from kerastransfer.losses.pixels import cross_entropy, pixel_loss, smooth_dice, soft_dice
from kerastransfer.vocabulary import VOID


def array(tensor):
    return ops.convert_to_numpy(tensor)


def logits_of(segmentation, classes, certainty=40.0):
    """Logits that are sure of `segmentation`."""
    return (np.eye(classes)[np.minimum(segmentation, classes - 1)] * certainty).astype("float32")


def test_cross_entropy_by_hand():
    """Two pixels: p = 1/2 of (1/2, 1/2), and p = 3/4 of (1/4, 3/4)."""
    logits = np.log(np.array([[[[0.5, 0.5], [0.25, 0.75]]]], "float32"))
    found = array(cross_entropy(np.array([[[0, 1]]], "uint8"), logits))
    np.testing.assert_allclose(found, [(np.log(2) + np.log(4 / 3)) / 2], rtol=1e-5)


def test_cross_entropy_equals_a_plain_loop():
    random = np.random.default_rng(0)
    truth = random.choice([0, 1, 2, VOID], (3, 4, 5)).astype("uint8")
    logits = random.normal(size=(3, 4, 5, 3)).astype("float32")
    for image, value in enumerate(array(cross_entropy(truth, logits))):
        costs = [
            np.log(np.exp(logits[image, y, x]).sum()) - logits[image, y, x, truth[image, y, x]]
            for y, x in np.argwhere(truth[image] != VOID)
        ]
        assert value == pytest.approx(np.mean(costs), rel=1e-5)


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice])
def test_void_pixels_count_nothing(loss):
    random = np.random.default_rng(1)
    truth, logits = random.integers(0, 3, (1, 4, 4)).astype("uint8"), random.normal(size=(1, 4, 4, 3)).astype("float32")
    known = array(loss(truth[:, :, :3], logits[:, :, :3]))
    truth[:, :, 3] = VOID
    for value in (0, 1e4, -1e4):
        logits[:, :, 3, 1] = value
        np.testing.assert_allclose(array(loss(truth, logits)), known, rtol=1e-5)


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice])
def test_an_image_of_void_alone_costs_nothing(loss):
    truth, logits = (
        np.full((2, 3, 3), VOID, "uint8"),
        np.random.default_rng(2).normal(size=(2, 3, 3, 4)).astype("float32"),
    )
    np.testing.assert_array_equal(array(loss(truth, logits)), [0, 0])


def test_dice_of_a_perfect_prediction_is_zero_with_classes_absent():
    """keras.losses.Dice gives 0.667 here."""
    truth = np.zeros((1, 4, 4), "uint8")
    truth[0, 1:3] = 2
    np.testing.assert_allclose(array(soft_dice(truth, logits_of(truth, 4))), [0], atol=1e-6)


def test_dice_of_background_alone_is_zero_whatever_is_predicted():
    truth = np.zeros((1, 4, 4), "uint8")
    np.testing.assert_array_equal(array(soft_dice(truth, logits_of(truth + 1, 3))), [0])


def test_dice_by_hand():
    """4 pixels. Class 1 is true on 2, predicted on 3, of which 2 agree: 2 * 2 / 5. Class 2 is true on 1, predicted on
    none: 0. Class 3 is absent. Per image: the second has all wrong."""
    truth = np.array([[[1, 1, 2, 0]], [[1, 1, 1, 1]]], "uint8")
    guess = np.array([[[1, 1, 1, 0]], [[0, 0, 2, 2]]])
    np.testing.assert_allclose(array(soft_dice(truth, logits_of(guess, 4))), [(1 / 5 + 1) / 2, 1], atol=1e-6)


def test_dice_of_a_uniform_guess():
    """All n pixels are of class 1, each guessed 1/2: 2 (n / 2) / (n + n / 2) = 2/3."""
    np.testing.assert_allclose(
        array(soft_dice(np.ones((1, 3, 3), "uint8"), np.zeros((1, 3, 3, 2), "float32"))), [1 / 3], atol=1e-6
    )


def test_dice_of_a_batch_is_that_of_all_pixels_together():
    """Of two images of 2 x 2 pixels, sure everywhere: 3 pixels of the class, 3 found, 2 of them right."""
    truth = np.array([[[1, 1], [0, 0]], [[1, 0], [VOID, 0]]], "uint8")
    guess = np.array([[[1, 1], [0, 0]], [[0, 1], [1, 0]]], "uint8")
    found = array(smooth_dice(truth, logits_of(guess, 2), over="batch"))
    np.testing.assert_allclose(found, [1 - (2 * 2 + 1) / (3 + 3 + 1)] * 2, rtol=1e-5)


@pytest.mark.parametrize("over", ["image", "batch"])
def test_smooth_dice_counts_classes_that_an_image_lacks(over):
    """Where `soft_dice` leaves them out: four pixels found of a class that is not there."""
    nothing, something = np.zeros((1, 2, 2), "uint8"), np.ones((1, 2, 2), "uint8")
    loss = lambda guess: array(smooth_dice(nothing, logits_of(guess, 3), over=over))  # noqa: E731
    np.testing.assert_allclose(loss(something), [(1 - 1 / 5) / 2], rtol=1e-5)
    np.testing.assert_allclose(loss(nothing), [0], atol=1e-5)


def test_smooth_dice_of_images_by_hand():
    """2 pixels of 2 found, and 1 of 1 missed with 2 found elsewhere."""
    truth = np.array([[[1, 1], [0, 0]], [[1, 0], [VOID, 0]]], "uint8")
    guess = np.array([[[1, 1], [0, 0]], [[0, 1], [1, 0]]], "uint8")
    found = array(smooth_dice(truth, logits_of(guess, 2)))
    np.testing.assert_allclose(found, [0, 1 - 1 / (1 + 1 + 1)], rtol=1e-5, atol=1e-6)


def test_terms_and_gradients_compile():
    truth = np.stack([np.full((4, 4), VOID), np.zeros((4, 4)), np.eye(4)]).astype("uint8")
    logits = np.random.default_rng(4).normal(size=(3, 4, 4, 2)).astype("float32")

    def total(logits):
        return sum(ops.sum(value) for value in pixel_loss({"segmentation": truth}, logits).values())

    assert {k: v.shape for k, v in pixel_loss({"segmentation": truth}, logits).items()} == {
        "cross_entropy": (3,),
        "dice": (3,),
    }
    if keras.backend.backend() == "jax":
        import jax

        slope = np.asarray(jax.jit(jax.grad(total))(logits))
    else:
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def differentiate(logits):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = total(logits)
            return tape.gradient(value, logits)

        slope = differentiate(tf.constant(logits)).numpy()
    assert np.isfinite(slope).all()
    assert not slope[0].any() and slope[1].any() and slope[2].any()

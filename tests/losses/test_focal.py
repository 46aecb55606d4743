import detection_references as references
import keras
import numpy as np
from harness import with_gradient

from kerastransfer.losses.focal import focal


def test_values_and_gradient_are_those_of_torchvision():
    logits, targets = references.focal_inputs().values()
    expected = references.expected("focal")
    np.testing.assert_allclose(np.asarray(focal(logits, targets)), expected["values"], rtol=1e-4, atol=1e-6)
    summed = with_gradient(lambda x: (keras.ops.sum(focal(x, targets)), None))
    _, gradient = summed(keras.ops.convert_to_tensor(logits))
    np.testing.assert_allclose(np.asarray(gradient), expected["gradient"], rtol=1e-4, atol=1e-6)


def test_without_focus_it_is_half_the_cross_entropy():
    logits = np.float32([-3, 0, 2])
    targets = np.float32([1, 0, 1])
    expected = -np.log(1 / (1 + np.exp(np.where(targets == 1, -logits, logits))))
    np.testing.assert_allclose(np.asarray(focal(logits, targets, alpha=0.5, gamma=0.0)), expected / 2, rtol=1e-5)


def test_large_logits_stay_finite():
    values = np.asarray(focal(np.float32([-1e4, 1e4, -1e4, 1e4]), np.float32([1, 0, 0, 1])))
    np.testing.assert_allclose(values, [2500, 7500, 0, 0])

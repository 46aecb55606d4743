"""Gradient descent with momentum, for detectors and for contrastive pretexts: SGD and LARS."""

import keras
from keras import ops

from kerastransfer.training.averaging import Averages
from kerastransfer.training.resting import Rests


@keras.saving.register_keras_serializable(package="kerastransfer")
class SGD(Averages, Rests, keras.optimizers.SGD):
    """Keras's SGD with weight decay and a learning rate for biases as in Detectron.

    kernel_decay: `kernel_decay * kernel` is added to the gradient of kernels (variables of two or more axes), and so
        accumulates in the momentum, as in Caffe and PyTorch. Keras's own `weight_decay` does not accumulate: at
        momentum 0.9 it is only a tenth as strong.
    bias_factor: the learning rate of biases, as a multiple of that of the other variables.
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        kernel_decay: float = 0.0,
        bias_factor: float = 1.0,
        **kwargs,
    ):
        super().__init__(learning_rate, momentum=momentum, nesterov=nesterov, **kwargs)
        self.kernel_decay, self.bias_factor = kernel_decay, bias_factor
        self._biases = ()

    def build(self, variables):
        # In a training step the variables are TensorFlow's own, and Keras does not guarantee their names.
        self._biases = tuple(self._var_key(variable) for variable in variables if variable.name == "bias")
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        gradient = ops.cast(gradient, variable.dtype)
        if self.kernel_decay and _is_kernel(variable):
            gradient = gradient + self.kernel_decay * ops.convert_to_tensor(variable)
        if self.bias_factor != 1 and self._var_key(variable) in self._biases:
            learning_rate = learning_rate * self.bias_factor
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "kernel_decay": self.kernel_decay, "bias_factor": self.bias_factor}


@keras.saving.register_keras_serializable(package="kerastransfer")
class LARS(SGD):
    """Layer-wise adaptive rate scaling, LARS (You et al. 2017, algorithm 1): SGD in which the learning rate of each
    kernel w with the gradient g is multiplied by

        trust * |w| / |g + kernel_decay * w|        (1 where either norm is 0).

    Biases and normalization parameters (variables of one axis) are neither scaled nor decayed, as in SimCLR (Chen et
    al. 2020). Gradients are multiplied by the learning rate before they enter the momentum, as in You et al. 2017.
    """

    def __init__(
        self,
        learning_rate=0.3,
        momentum: float = 0.9,
        nesterov: bool = False,
        kernel_decay: float = 1e-4,
        trust: float = 1e-3,
        **kwargs,
    ):
        super().__init__(learning_rate, momentum, nesterov, kernel_decay, **kwargs)
        self.trust = trust

    def update_step(self, gradient, variable, learning_rate):
        if _is_kernel(variable):
            gradient, value = ops.cast(gradient, variable.dtype), ops.convert_to_tensor(variable)
            norm, slope = _norm(value), _norm(gradient + self.kernel_decay * value)
            there = ops.logical_and(norm > 0, slope > 0)
            ratio = ops.where(there, self.trust * norm / ops.where(there, slope, 1.0), 1.0)
            learning_rate = ops.cast(learning_rate, variable.dtype) * ratio
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "trust": self.trust}


def _norm(values):
    # `ops.norm` takes at most two axes, and a kernel of a convolution has four.
    return ops.sqrt(ops.sum(ops.square(values)))


def _is_kernel(variable):
    return len(variable.shape) > 1

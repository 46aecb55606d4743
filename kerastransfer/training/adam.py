"""Keras's Adam and AdamW, extended so that some of their variables can rest, and faster on TensorFlow."""

import keras
from keras import ops

from kerastransfer.training.averaging import Averages
from kerastransfer.training.resting import Rests


class OneKernel:
    """A mixin for Keras's Adam: on TensorFlow one kernel updates a variable, which passes over memory once. Keras's own
    dozen of operations take a tenth of the time of a small detector's step in bfloat16.

    Gradients of embeddings, which TensorFlow gives row by row, are added up first, so that rows that come twice count
    twice.
    """

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        gradient = tf.convert_to_tensor(gradient)
        if self.amsgrad or self._resting_now is not None:
            super().update_step(gradient, variable, learning_rate)
            return
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = ops.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=ops.power(ops.cast(self.beta_1, dtype), step),
            beta2_power=ops.power(ops.cast(self.beta_2, dtype), step),
            lr=ops.cast(learning_rate, dtype),
            beta1=ops.cast(self.beta_1, dtype),
            beta2=ops.cast(self.beta_2, dtype),
            epsilon=ops.cast(self.epsilon, dtype),
            grad=ops.cast(gradient, dtype),
        )


@keras.saving.register_keras_serializable(package="kerastransfer")
class Adam(Averages, Rests, OneKernel, keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015)."""


@keras.saving.register_keras_serializable(package="kerastransfer")
class AdamW(Averages, Rests, OneKernel, keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter 2019)."""

"""Merges the axes of batch and boxes and splits them again, for layers with a single batch axis."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerastransfer")
class Fold(keras.layers.Layer):
    """From (B, N, ...) to (B * N, ...)."""

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_shape(self, shape):
        return (None if None in shape[:2] else shape[0] * shape[1], *shape[2:])


@keras.saving.register_keras_serializable(package="kerastransfer")
class Unfold(keras.layers.Layer):
    """From (B * N, ...) to (B, N, ...), with B and N of a second input (B, N, ...)."""

    def call(self, x, like):
        return ops.reshape(x, (*ops.shape(like)[:2], *x.shape[1:]))

    def compute_output_shape(self, x_shape, like_shape):
        return (*like_shape[:2], *x_shape[1:])

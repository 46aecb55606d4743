"""Max-pooling in a network whose strides were removed."""

import functools

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerastransfer")
class DilatedMaxPool(keras.layers.Layer):
    """The maximum over `size` x `size` pixels with a distance of `dilation`, at every pixel of (B, H, W, D).

    This replaces a pool of stride 2 in "a trous" inference. Pixels beyond the far sides are ignored, as if padded with
    -inf, and the shape does not change. whole: instead, windows that reach beyond the far sides are left out, which
    shortens each side by (size - 1) * dilation; this replaces a pool without padding after a layer that pads.
    """

    def __init__(self, dilation: int, size: int = 2, *, whole: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.dilation, self.size, self.whole = dilation, size, whole

    def call(self, x):
        for axis in (1, 2):
            steps = [index * self.dilation for index in range(self.size)]
            shifted = [self._shifted(x, step, steps[-1] - step, axis) for step in steps]
            x = functools.reduce(ops.maximum, shifted)
        return x

    def _shifted(self, x, step, rest, axis):
        """The pixels that are `step` further along an axis."""

        def cut(near, far):
            span = slice(near, far or None)
            return x[:, span] if axis == 1 else x[:, :, span]

        if self.whole:
            return cut(step, -rest)
        # A missing neighbour is replaced by the pixel itself, which does not change the maximum and, unlike -inf, can
        # be represented in an int8 file.
        return ops.concatenate([cut(step, 0), cut(-step, 0)], axis=axis) if step else x

    def compute_output_shape(self, shape):
        batch, *sides, depth = shape
        if self.whole:
            lost = (self.size - 1) * self.dilation
            sides = [None if side is None else side - lost for side in sides]
        return (batch, *sides, depth)

    def get_config(self):
        return {**super().get_config(), "dilation": self.dilation, "size": self.size, "whole": self.whole}

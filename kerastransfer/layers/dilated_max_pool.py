"""The max-pool of a network whose strides were taken away."""

import functools

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerastransfer")
class DilatedMaxPool(keras.layers.Layer):
    """Max over `size` x `size` pixels that lie `dilation` apart, at every pixel: (B, H, W, D) to the same shape.

    What a pool of stride 2 becomes in a trous inference. Pixels beyond the far sides are left out, as if padded with
    -inf. whole: windows that reach beyond the far sides are left out instead, which takes (size - 1) * dilation from
    each side, as a pool without padding behind a layer that pads.
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
        """What lies `step` further along an axis."""

        def cut(near, far):
            span = slice(near, far or None)
            return x[:, span] if axis == 1 else x[:, :, span]

        if self.whole:
            return cut(step, -rest)
        # Where there is no neighbour the pixel stands for it: a maximum takes no notice, and an int8 file need not
        # hold -inf.
        return ops.concatenate([cut(step, 0), cut(-step, 0)], axis=axis) if step else x

    def compute_output_shape(self, shape):
        batch, *sides, depth = shape
        if self.whole:
            lost = (self.size - 1) * self.dilation
            sides = [None if side is None else side - lost for side in sides]
        return (batch, *sides, depth)

    def get_config(self):
        return {**super().get_config(), "dilation": self.dilation, "size": self.size, "whole": self.whole}

"""The max-pool of a network whose strides were taken away."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerastransfer")
class DilatedMaxPool(keras.layers.Layer):
    """Max over 2 x 2 pixels that lie `dilation` apart, at every pixel: (B, H, W, D) to the same shape.

    What a 2 x 2 pool of stride 2 becomes in a trous inference. Pixels beyond the far sides do not count, as if padded
    with -inf.
    """

    def __init__(self, dilation: int, **kwargs):
        super().__init__(**kwargs)
        self.dilation = dilation

    def call(self, x):
        # Where there is no neighbour the pixel stands for it: a maximum takes no notice, and an int8 file need not
        # hold -inf.
        rows = ops.concatenate([x[:, self.dilation :], x[:, -self.dilation :]], axis=1)
        x = ops.maximum(x, rows)
        columns = ops.concatenate([x[:, :, self.dilation :], x[:, :, -self.dilation :]], axis=2)
        return ops.maximum(x, columns)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "dilation": self.dilation}

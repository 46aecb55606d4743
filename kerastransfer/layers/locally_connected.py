"""A convolution with a different kernel at each position, which Keras 3 does not have."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerastransfer")
class LocallyConnected(keras.layers.Layer):
    """From (B, H, W, D) to (B, H, W, filters) with a `kernel` x `kernel` window, zero padding of kernel // 2, and
    different weights at each of the H x W positions. H and W must be fixed. Weights: (H * W, kernel * kernel * D,
    filters)."""

    def __init__(self, filters: int, kernel: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel = filters, kernel

    def build(self, shape):
        _, height, width, channels = shape
        if height is None or width is None:
            raise ValueError(f"{self.name}: a locally connected layer needs a fixed size, and came {shape}")
        self.kernel_weights = self.add_weight(
            (height * width, self.kernel**2 * channels, self.filters), initializer="he_normal", name="kernel"
        )
        self.bias = self.add_weight((height * width, self.filters), initializer="zeros", name="bias")

    def call(self, x):
        height, width = x.shape[1:3]
        x = ops.pad(x, ((0, 0), *((self.kernel // 2,) * 2,) * 2, (0, 0)))
        # The shape is (B, H, W, kernel * kernel * D), in the order [ky, kx, channel].
        patches = ops.concatenate(
            [x[:, i : i + height, j : j + width] for i in range(self.kernel) for j in range(self.kernel)], axis=-1
        )
        patches = ops.reshape(patches, (-1, height * width, patches.shape[-1]))
        out = ops.einsum("bpd,pdf->bpf", patches, self.kernel_weights) + self.bias
        return ops.reshape(out, (-1, height, width, self.filters))

    def compute_output_shape(self, shape):
        return (*shape[:3], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel": self.kernel}

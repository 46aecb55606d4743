"""Refuses images whose size a network with strides could not restore."""

import keras


@keras.saving.register_keras_serializable(package="kerastransfer")
class MultipleOf(keras.layers.Layer):
    """Returns images (B, H, W, D) unchanged. Raises ValueError if H or W is known and not a multiple of `stride`."""

    def __init__(self, stride: int, **kwargs):
        super().__init__(**{"name": f"multiple_of_{stride}", "autocast": False, **kwargs})
        self.stride = stride

    def call(self, images):
        self._check(images.shape)
        return images

    def compute_output_spec(self, images):
        self._check(images.shape)
        return keras.KerasTensor(images.shape, images.dtype)

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}

    def _check(self, shape):
        _, height, width, _ = shape
        if (height or 0) % self.stride or (width or 0) % self.stride:
            raise ValueError(
                f"the images are {height} x {width} pixels, and the network needs multiples of {self.stride}; resize "
                "them, or pad them and cut the result"
            )

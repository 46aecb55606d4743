"""Refuses images whose size a network with strides could not restore."""

import math

import keras

from kerastransfer.errors import UserError


class ImageSizeError(UserError, ValueError):
    """Images of a size that a network cannot take."""

    # Without this mark, Keras adds the arguments of the call to the message, over many lines.
    _keras_call_info_injected = True


@keras.saving.register_keras_serializable(package="kerastransfer")
class MultipleOf(keras.layers.Layer):
    """Returns images (B, H, W, D) unchanged. Raises ImageSizeError if H or W is known and not a multiple
    of `stride`."""

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
            stride, sides = self.stride, (height, width)
            near, above = (
                " x ".join(str(side and max(1, rounded(side / stride)) * stride) for side in sides)
                for rounded in (round, math.ceil)
            )
            raise ImageSizeError(
                f"the images are {height} x {width} pixels, and the network needs multiples of {stride}; resize them "
                f"to {near}, or pad them to {above} and cut the result"
            )

"""The decoder of detectors that also predict a mask in each box."""

import dataclasses
from typing import Any

import keras

from kerastransfer.codecs.mask import MaskCodec


@keras.saving.register_keras_serializable(package="kerastransfer")
@dataclasses.dataclass(frozen=True)
class MaskedBoxes:
    """codec: for the boxes. masks: for the mask branch. detections: the largest number of boxes with a mask in an
    image."""

    codec: Any
    masks: MaskCodec
    detections: int = 100

    @property
    def rows_vary(self) -> bool:
        """Whether a rounding error may put another candidate into a row."""
        return getattr(self.codec, "rows_vary", False)

    def get_config(self) -> dict:
        """The fields, for saving with a Keras model."""
        codecs = {"codec": self.codec, "masks": self.masks}
        return {name: keras.saving.serialize_keras_object(codec) for name, codec in codecs.items()} | {
            "detections": self.detections
        }

    @classmethod
    def from_config(cls, config: dict) -> "MaskedBoxes":
        codecs = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("codec", "masks")}
        return cls(**codecs, detections=config["detections"])

"""What decodes a detector that also draws a mask in each of its boxes."""

import dataclasses
from typing import Any

import keras

from kerastransfer.codecs.mask import MaskCodec


@keras.saving.register_keras_serializable(package="kerastransfer")
@dataclasses.dataclass(frozen=True)
class MaskedBoxes:
    """codec: of the boxes. masks: of the mask branch. detections: how many boxes of an image get a mask."""

    codec: Any
    masks: MaskCodec
    detections: int = 100

    def get_config(self) -> dict:
        """The fields, as Keras stores them with a model."""
        codecs = {"codec": self.codec, "masks": self.masks}
        return {name: keras.saving.serialize_keras_object(codec) for name, codec in codecs.items()} | {
            "detections": self.detections
        }

    @classmethod
    def from_config(cls, config: dict) -> "MaskedBoxes":
        codecs = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("codec", "masks")}
        return cls(**codecs, detections=config["detections"])

"""A Keras model behind the interface of `Predictor`: the same resize, thresholds and suppression, another core."""

import keras
import numpy as np

from kerastransfer.data.decoded import resize_image
from kerastransfer.export.metadata import Metadata
from kerastransfer.export.predictor import ImagePredictor


class KerasPredictor(ImagePredictor):
    """Predicts with `model`, image (B, H, W, 3) to the outputs of `metadata.MEANINGS[task]`."""

    def __init__(self, model: keras.Model, metadata: Metadata):
        self.model = model
        self.metadata = metadata

    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        pixels = resize_image(image, self.metadata.image_size)[None].astype(np.float32)
        outputs = self.model.predict_on_batch(pixels)
        return {name: np.asarray(value[0], np.float32) for name, value in outputs.items()}

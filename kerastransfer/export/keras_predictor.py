"""A Keras model with the interface of `Predictor`, and the same resizing, thresholds and suppression."""

import keras
import numpy as np

from kerastransfer.data.letterbox import placement
from kerastransfer.export.predictor import ImagePredictor
from kerastransfer.tasks.about import About


class KerasPredictor(ImagePredictor):
    """Predicts with `model`, from image (B, H, W, 3) to the outputs of its task."""

    def __init__(self, model: keras.Model, about: About):
        self.model = model
        self.about = about

    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        pixels = placement(image.shape[:2], self.about.image_size, self.about.resize).image(image)
        outputs = self.model.predict_on_batch(pixels[None].astype(np.float32))
        return {name: np.asarray(value[0], np.float32) for name, value in outputs.items()}

"""The interface of all predictions."""

from typing import Any, Protocol

import numpy as np
import PIL.Image


class Prediction(Protocol):
    """The prediction for one image: `tasks.detection.Detections`, `tasks.instances.Instances`, ..."""

    def summary(self) -> list[dict[str, Any]]:
        """The prediction for JSON."""

    def in_words(self) -> str:
        """The prediction in one line."""

    def draw(self, image: np.ndarray, alpha: float = 0.5) -> PIL.Image.Image:
        """The prediction over `image` (H, W, 3) uint8."""

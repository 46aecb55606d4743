"""What every task's prediction can do."""

from typing import Any, Protocol

import numpy as np
import PIL.Image


class Prediction(Protocol):
    """What a model says of one image: `tasks.detection.Detections`, `tasks.instances.Instances`, ..."""

    def summary(self) -> list[dict[str, Any]]:
        """As JSON takes it."""

    def in_words(self) -> str:
        """One line."""

    def draw(self, image: np.ndarray, alpha: float = 0.5) -> PIL.Image.Image:
        """Over `image` (H, W, 3) uint8."""

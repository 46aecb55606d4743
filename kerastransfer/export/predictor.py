"""Runs an exported file on photos; needs only ai-edge-litert, numpy and pillow.

predictor = Predictor("tflite/yolo_unet_int8.tflite")
prediction = predictor.predict("photo.jpg")
predictor.draw("photo.jpg", prediction).save("overlay.png")
"""

import abc
import dataclasses
import os
import statistics
import time
from typing import Any

import numpy as np
import PIL.Image
from ai_edge_litert.interpreter import Interpreter

from kerastransfer.data.letterbox import placement
from kerastransfer.errors import UserError
from kerastransfer.silence import silenced
from kerastransfer.tasks import TASKS, description, images, metadata
from kerastransfer.tasks.about import About
from kerastransfer.tasks.prediction import Prediction


class ImagePredictor(abc.ABC):
    """Predictions for photos. Subclasses have `about` and `outputs`."""

    about: About

    @abc.abstractmethod
    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The raw outputs of the model for `image` (h, w, 3) uint8: named float32 arrays without the batch axis."""

    def predict(
        self,
        image: np.ndarray | PIL.Image.Image | str | os.PathLike,
        *,
        score: float | None = None,
        iou: float | None = None,
        detections: int | None = None,
    ) -> Prediction:
        """The prediction for `image`, which is (H, W, 3) uint8, a Pillow image, or a path.

        score, iou, detections: thresholds of a detector, by default those in the file (`tasks.about.Thresholds`).
        Raises UserError for thresholds out of range, and for what is no image.
        """
        image = as_array(image)
        given: dict[str, Any] = {"score": score, "iou": iou, "detections": detections}
        thresholds = dataclasses.replace(
            self.about.thresholds, **{name: value for name, value in given.items() if value is not None}
        )
        return TASKS[self.about.task].interpret(self.outputs(image), self.about, image.shape[:2], thresholds)

    def draw(
        self, image: np.ndarray | PIL.Image.Image | str | os.PathLike, prediction: Prediction, alpha: float = 0.5
    ) -> PIL.Image.Image:
        """The image with the prediction drawn over it."""
        return prediction.draw(as_array(image), alpha)


class Predictor(ImagePredictor):
    """Runs a .tflite file that kerastransfer exported. Raises UserError for any other file."""

    def __init__(self, path: str | os.PathLike, threads: int = 2):
        self.about = metadata.read(path)
        try:
            with silenced():
                self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).replace("\n", " ")
            raise UserError(f"{path}: LiteRT cannot run this file ({reason}); export it again") from error
        runner = self._interpreter.get_signature_runner()
        (self._input,) = runner.get_input_details().values()
        self._outputs = runner.get_output_details()
        self._check(path)

    def _check(self, path: str | os.PathLike) -> None:
        """Raises UserError where the description in the file is that of another model."""
        task, height_width = TASKS[self.about.task], tuple(self._input["shape"][1:3].tolist())
        try:
            if missing := task.OUTPUTS.keys() - self._outputs.keys():
                raise ValueError(f"no output {missing.pop()}, which {self.about.task} has")
            if height_width != self.about.image_size:
                raise ValueError(f"images of {self.about.image_size}, but the model takes {height_width}")
            shapes = {name: np.empty((0, *detail["shape"][-1:])) for name, detail in self._outputs.items()}
            description.same_count(task.num_classes(shapes), self.about.labels)
        except (ValueError, IndexError) as error:
            raise UserError(f"{path}: describes another model ({error}); copy or export it again") from error

    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        pixels = placement(image.shape[:2], self.about.image_size, self.about.resize).image(image)
        self._interpreter.set_tensor(self._input["index"], quantised(pixels, self._input)[None])
        self._interpreter.invoke()
        return {
            name: dequantised(self._interpreter.get_tensor(detail["index"]), detail)[0]
            for name, detail in self._outputs.items()
        }

    def latency(self, runs: int = 20) -> float:
        """Milliseconds that the model takes for an image: the median of `runs`, after three runs to warm up."""
        self._interpreter.set_tensor(self._input["index"], np.zeros(self._input["shape"], self._input["dtype"]))
        seconds = []
        for _ in range(runs + 3):
            start = time.perf_counter()
            self._interpreter.invoke()
            seconds.append(time.perf_counter() - start)
        return 1000 * statistics.median(seconds[3:])


def as_array(image: np.ndarray | PIL.Image.Image | str | os.PathLike) -> np.ndarray:
    """`image` as (H, W, 3) uint8 RGB: a path is read and a Pillow image is converted, both turned upright by EXIF."""
    if isinstance(image, str | os.PathLike):
        return images.read(image)
    if isinstance(image, PIL.Image.Image):
        return images.converted(image)
    if not isinstance(image, np.ndarray):
        raise UserError(
            f"the image is a {type(image).__name__}; give a path, a Pillow image, or an array (H, W, 3), uint8, RGB"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise UserError(f"the image has shape {image.shape} and type {image.dtype}; give (H, W, 3), uint8, RGB")
    return image


def quantised(values: np.ndarray, detail: dict) -> np.ndarray:
    """`values` as they are stored in the tensor that `detail` describes."""
    scale, zero_point = detail["quantization"]
    if scale:
        limits = np.iinfo(detail["dtype"])
        values = np.clip(np.round(values / scale + zero_point), limits.min, limits.max)
    return values.astype(detail["dtype"])


def dequantised(values: np.ndarray, detail: dict) -> np.ndarray:
    """The float32 numbers that the stored `values` of the tensor that `detail` describes represent."""
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale) if scale else values.astype(np.float32)

"""A trained model and, beside it, what it is for: NAME.keras and NAME.json, as a recipe leaves them in `models/`.

    {"task": "detection", "labels": ["disc", "star"], "image_size": [224, 224],
     "codec": {"name": "yolov1", "num_classes": 2, "boxes_per_cell": 2, ...}}
    {"task": "instances", "labels": ["person"], "image_size": [320, 320], "codec": {"name": "yolov3", ...},
     "masks": {"mask_size": 28, ...}, "detections": 20}
    {"task": "segmentation", "labels": ["background", "disc", "star"], "image_size": [224, 224]}

"resize" tells how images come to that size ("stretch" where it is missing).
The .keras file gives what the network itself gives (raw predictions, logits); the codec is what turns raw predictions
into boxes. Importing this module imports neither Keras nor TensorFlow: a .tflite file runs without them.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kerastransfer import files
from kerastransfer.errors import UserError
from kerastransfer.runs.settings import import_keras
from kerastransfer.tasks import scoring

if TYPE_CHECKING:
    import keras

    from kerastransfer.data.dataset import Dataset
    from kerastransfer.export.parity import ExportedFile
    from kerastransfer.tasks.metadata import Metadata
    from kerastransfer.tasks.prediction import Prediction

MAIN_SCORE = {"instances": "mask_AP50", "detection": "AP50", "segmentation": "iou_mean"}
# What an exported file must keep. Not AP50: of a few dozen images it moves by hundredths when a few boxes cross an IoU
# of 0.5, either way; AP takes the mean over ten such bars.
KEPT_SCORE = {"instances": "mask_AP", "detection": "AP", "segmentation": "iou_mean"}
CALIBRATION_IMAGES = 32
PARITY_IMAGES = 128  # on 32 chance alone moved the score of a good file by 0.01


@dataclasses.dataclass(frozen=True)
class Trained:
    """network: as it is, to raw predictions or logits. codec: a detector's; masks: of its mask branch, and detections,
    how many boxes get a mask: None, None and 0 where there is none."""

    network: "keras.Model"
    metadata: "Metadata"
    codec: Any | None = None
    masks: Any | None = None
    detections: int = 0


class AnyPredictor(Protocol):
    """What `open_predictor` gives, whatever the file: `export.predictor.Predictor` tells the arguments."""

    metadata: "Metadata"

    def predict(
        self,
        image: np.ndarray,
        *,
        score: float | None = None,
        iou: float | None = None,
        detections: int | None = None,
    ) -> "Prediction": ...


def write(
    model: "keras.Model",
    path: str | Path,
    *,
    task: str,
    labels: Sequence[str],
    image_size: tuple[int, int],
    codec: Any | None = None,
    masks: Any | None = None,
    detections: int = 0,
    resize: str = "stretch",
) -> None:
    """Write `model` to `path` (NAME.keras) and NAME.json beside it.

    task: "detection", "instances" or "segmentation". labels: names of the classes, "background" first for segmentation.
    image_size: (H, W) in pixels. codec, masks: the dataclasses that decode a detector's predictions and its masks.
    detections: how many boxes of an image get a mask. resize: how images come to image_size, "stretch" or "letterbox".
    """
    from kerastransfer.export import loading

    described = {"task": task, "labels": list(labels), "image_size": list(image_size), "resize": resize}
    if codec is not None:
        described["codec"] = {"name": type(codec).__module__.rpartition(".")[2], **dataclasses.asdict(codec)}
    if masks is not None:
        described |= {"masks": dataclasses.asdict(masks), "detections": detections}
    loading.write_keras(model, path)
    files.write_json(Path(path).with_suffix(".json"), described)


def load(path: str | Path) -> tuple["keras.Model", "Metadata"]:
    """The model in NAME.keras as it is exported (image to boxes and scores, or to probabilities), and what it is for.

    Raises UserError when either file is missing, damaged, or not of this package.
    """
    found = read(path)
    from kerastransfer.models import predictor, yolo_mask

    size = found.metadata.image_size
    if found.codec is None:
        return predictor.probabilities(found.network, size), found.metadata
    if found.masks is None:
        return predictor.candidates(found.network, found.codec, size), found.metadata
    graph = yolo_mask.instances(found.network, found.codec, found.masks, size, max_detections=found.detections)
    return graph, found.metadata


def read(path: str | Path) -> Trained:
    """The network in NAME.keras as it is, and what NAME.json says of it.

    Raises UserError as `load` does.
    """
    import_keras()
    import keras

    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.export.loading import load_keras
    from kerastransfer.silence import silenced
    from kerastransfer.tasks.metadata import Metadata

    codecs = {"yolov1": YoloV1Codec, "yolov3": YoloV3Codec}
    with silenced():
        keras.ops.zeros(())  # the first operation looks for a GPU, and complains if there is none
    model = load_keras(path)
    beside = Path(path).with_suffix(".json")
    try:
        described = json.loads(beside.read_text(encoding="utf-8"))
        height, width = described["image_size"]
        size, resize = (int(height), int(width)), described.get("resize", "stretch")
        metadata = Metadata(described["task"], tuple(described["labels"]), size, resize=resize)
        if metadata.task == "segmentation":
            return Trained(model, metadata)
        settings = dict(described["codec"])
        codec = codecs[settings.pop("name")](**settings)
        if metadata.task == "detection":
            return Trained(model, metadata, codec)
        return Trained(model, metadata, codec, MaskCodec(**described["masks"]), int(described["detections"]))
    except OSError as error:
        raise UserError(
            f"{beside}: cannot be read ({error.strerror}); it tells labels and sizes: keep it beside {path}"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{beside}: does not describe a model ({error!r}); copy it again from the run's folder"
        ) from error


def open_predictor(path: str | Path) -> AnyPredictor:
    """The model in a .keras file of this package or in a .tflite file that it exported. Raises UserError."""
    suffix = Path(path).suffix
    if suffix == ".tflite":
        from kerastransfer.export.predictor import Predictor

        return Predictor(path)
    if suffix == ".keras":
        model, metadata = load(path)
        from kerastransfer.export.keras_predictor import KerasPredictor

        return KerasPredictor(model, metadata)
    raise UserError(f"{path}: give a .keras or a .tflite file, such as saved_models/RUN/models/NAME.keras")


def export(
    path: str | Path, train: "Dataset", test: "Dataset", *, saved_model: Path, tflite: Path
) -> "list[ExportedFile]":
    """Write NAME.keras as the folder saved_model/NAME and as LiteRT files and NAME.json in the folder `tflite`.

    Images spread over `train` calibrate int8; the files are held against the Keras model on images spread over `test`.
    Raises ParityError, once everything is written, when a file is out of tolerance.
    """
    model, metadata = load(path)
    from kerastransfer.export import parity
    from kerastransfer.export import saved_model as saving

    shown = spread(test, PARITY_IMAGES)

    def score(predict: scoring.Predict) -> float:
        return scoring.score(predict, shown, metadata.task, metadata.labels)[KEPT_SCORE[metadata.task]]

    name = Path(path).stem
    saving.write(model, saved_model / name)
    return parity.export_all(
        model,
        tflite,
        name,
        task=metadata.task,
        labels=metadata.labels,
        image_size=metadata.image_size,
        calibration=(sample.read()["image"] for sample in spread(train, CALIBRATION_IMAGES).samples),
        images=(sample.read()["image"] for sample in shown.samples),
        score=score,
        resize=metadata.resize,
    )


def spread(dataset: "Dataset", most: int) -> "Dataset":
    """At most `most` samples, evenly over the data set: the first ones by name are often all of one class."""
    every = max(1, -(-len(dataset) // most))
    return dataclasses.replace(dataset, samples=dataset.samples[::every])

"""What a .tflite file says about itself, in a zip behind the model: interpreters stop before it, `unzip` reads it."""

import dataclasses
import io
import json
import os
import zipfile
from pathlib import Path

import kerastransfer
from kerastransfer.data.letterbox import RESIZES
from kerastransfer.errors import UserError

MEANINGS = {
    "detection": {
        "boxes": "(1, A, (y1, x1, y2, x2)), fractions of the image, before non-maximum suppression",
        "scores": "(1, A, K), in 0..1, one for each box and class",
    },
    "instances": {
        "boxes": "(1, N, (y1, x1, y2, x2)), fractions of the image, after non-maximum suppression, best first",
        "scores": "(1, N), in 0..1, falling; 0 behind the last detection",
        "labels": "(1, N), number of the class; -1 behind the last detection",
        "masks": "(1, N, M, M), probabilities on a grid over the box: the object's pixels are those of 0.5 and more",
        "count": "(1,), how many of the N rows are detections",
    },
    "segmentation": {"segmentation": "(1, H, W, K), probabilities of the classes at each pixel; class 0 is background"},
}


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What becomes of a detector's boxes: those of `score` and more stay, non-maximum suppression drops those that
    overlap a better one of their class by more than `iou`, and the best `detections` are the answer."""

    score: float = 0.25
    iou: float = 0.5
    detections: int = 100


@dataclasses.dataclass(frozen=True)
class Metadata:
    """task: "detection", "instances" or "segmentation". labels: names of the K classes. image_size: (H, W) that the
    model reads. kind: "float32", "float16" or "int8". thresholds: defaults of a detector's predictor. resize: how an
    image comes to that size, "stretch" or "letterbox" (`data.letterbox`); boxes are then fractions of the letterboxed
    picture, and maps are of it."""

    task: str
    labels: tuple[str, ...]
    image_size: tuple[int, int]
    kind: str = "float32"
    thresholds: Thresholds = Thresholds()
    version: str = kerastransfer.__version__
    resize: str = "stretch"

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise ValueError(f"resize {self.resize!r}: known are {RESIZES}")


def attach(model: bytes, metadata: Metadata) -> bytes:
    """The .tflite file `model` with `metadata.json` and `labels.txt` in a zip at its end."""
    height, width = metadata.image_size
    described = {
        "format": 1,
        "task": metadata.task,
        "labels": metadata.labels,
        "image": {
            "height": height,
            "width": width,
            "channels": "RGB",
            "range": [0, 255],
            "resize": f"{metadata.resize}, bilinear",
        },
        "outputs": MEANINGS[metadata.task],
        "thresholds": dataclasses.asdict(metadata.thresholds),
        "kind": metadata.kind,
        "kerastransfer": metadata.version,
    }
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a") as archive:  # ZipInfo by name alone has a fixed date: equal models, equal files
        archive.writestr(zipfile.ZipInfo("metadata.json"), json.dumps(described, indent=2, ensure_ascii=False))
        archive.writestr(zipfile.ZipInfo("labels.txt"), "".join(f"{label}\n" for label in metadata.labels))
    return file.getvalue()


def read(path: str | os.PathLike) -> Metadata:
    """The metadata of a file that `attach` made. Raises UserError for any other file."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a .tflite file") from error
    if head[4:] != b"TFL3":  # the identifier of the FlatBuffers schema
        raise UserError(f"{path}: not a .tflite file; make one with `kerastransfer export MODEL`")
    try:
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("metadata.json"))
        image = described["image"]
        return Metadata(
            task=described["task"],
            labels=tuple(described["labels"]),
            image_size=(image["height"], image["width"]),
            kind=described["kind"],
            thresholds=Thresholds(**described["thresholds"]),
            version=described["kerastransfer"],
            resize=image.get("resize", "stretch").partition(",")[0],
        )
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: the labels and sizes at the end of the file are missing: it was cut off, or not exported by "
            "kerastransfer; copy or export it again"
        ) from error

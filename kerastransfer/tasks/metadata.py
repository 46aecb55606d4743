"""The metadata of a .tflite file, in a zip archive appended to the model: interpreters ignore it, `unzip` reads it."""

import dataclasses
import io
import json
import os
import zipfile
from pathlib import Path

from kerastransfer.errors import UserError
from kerastransfer.tasks import TASKS
from kerastransfer.tasks.about import About, Thresholds


def attach(model: bytes, about: About) -> bytes:
    """The .tflite file `model` with `metadata.json` and `labels.txt` in a zip at its end."""
    height, width = about.image_size
    described = {
        "format": 1,
        "task": about.task,
        "labels": about.labels,
        "image": {
            "height": height,
            "width": width,
            "channels": "RGB",
            "range": [0, 255],
            "resize": f"{about.resize}, bilinear",
        },
        "outputs": TASKS[about.task].OUTPUTS,
        "thresholds": dataclasses.asdict(about.thresholds),
        "kind": about.kind,
        "kerastransfer": about.version,
    }
    file = io.BytesIO(model)
    # A ZipInfo made only from a name has a fixed date, so that equal models give equal files.
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo("metadata.json"), json.dumps(described, indent=2, ensure_ascii=False))
        archive.writestr(zipfile.ZipInfo("labels.txt"), "".join(f"{label}\n" for label in about.labels))
    return file.getvalue()


def read(path: str | os.PathLike) -> About:
    """The metadata of a file that `attach` made. Raises UserError for any other file."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a .tflite file") from error
    # The identifier of the FlatBuffers schema.
    if head[4:] != b"TFL3":
        raise UserError(f"{path}: not a .tflite file; make one with `kerastransfer export MODEL`")
    try:
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("metadata.json"))
        image = described["image"]
        return About(
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
            f"{path}: the labels and sizes at the end of the file are missing, so it is truncated or was not exported "
            "by kerastransfer; copy or export it again"
        ) from error

"""The metadata of a .tflite file, in a zip archive appended to the model: interpreters ignore it, `unzip` reads it."""

import dataclasses
import io
import json
import os
import zipfile
from pathlib import Path

from kerastransfer import archives
from kerastransfer.errors import UserError
from kerastransfer.tasks import TASKS, description
from kerastransfer.tasks.about import About, Thresholds

# More rows than any of the models has.
MOST_DETECTIONS = 1_000_000


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
        described = description.parsed(_metadata(path))
        image, thresholds = described.get("image"), described.get("thresholds")
        if not isinstance(image, dict) or not isinstance(thresholds, dict):
            raise ValueError("no image, or no thresholds")
        most = thresholds.get("detections")
        if type(most) is not int or not 0 < most <= MOST_DETECTIONS:
            raise ValueError(f"detections is {most!r:.60}; a whole number above 0 is needed")
        return About(
            task=description.task(described),
            labels=description.labels(described),
            image_size=description.size([image.get("height"), image.get("width")]),
            kind=description.text(described, "kind"),
            thresholds=Thresholds(description.share(thresholds, "score"), description.share(thresholds, "iou"), most),
            version=description.text(described, "kerastransfer"),
            resize=description.resize(str(image.get("resize", "stretch")).partition(",")[0]),
        )
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise UserError(
            f"{path}: the labels and sizes at the end of the file are missing, so it is truncated or was not exported "
            "by kerastransfer; copy or export it again"
        ) from error
    # zipfile raises many types of errors for a damaged archive.
    except Exception as error:
        raise UserError(
            f"{path}: the labels and sizes at its end are damaged ({error}); copy or export it again"
        ) from error


def _metadata(path: str | os.PathLike) -> bytes:
    """The content of metadata.json. Raises ValueError before anything large is unpacked."""
    with zipfile.ZipFile(path) as archive:
        archives.refuse_large(archive, "metadata.json", description.LARGEST_BYTES)
        return archive.read("metadata.json")

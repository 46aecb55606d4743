"""Export with a parity check: every file is compared with the Keras model on real images before it gets its name."""

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from kerastransfer import files
from kerastransfer.data.letterbox import placement
from kerastransfer.errors import UserError
from kerastransfer.export import tflite
from kerastransfer.export.keras_predictor import KerasPredictor
from kerastransfer.export.portable import in_float32
from kerastransfer.export.predictor import Predictor
from kerastransfer.tasks import TASKS
from kerastransfer.tasks.about import About
from kerastransfer.tasks.metadata import attach
from kerastransfer.tasks.scored import Predict
from kerastransfer.tasks.tolerance import Tolerance, on_images, where_rows_vary

NOTHING_PROVED = "the Keras model scores 0 on these images, so an equal score proves nothing"


class ParityError(Exception):
    """Raised if the outputs of an exported file differ too much from those of the Keras model.

    The message is one line; `files` has the records of all files. As it is not a mistake of the user, the command line
    prints the message and exits with code 1, not 2.
    """

    def __init__(self, exported: Sequence["ExportedFile"]):
        super().__init__("; ".join(f"{file.path}: {file.reason}" for file in exported if not file.passed))
        self.files = list(exported)


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """An exported file, and how it compares with the Keras model, in float32, that it was made from.

    differences: {output: {"maximum", "mean"}} of the absolute difference over the images.
    metric: {"keras", "file"}, or None without a score.
    milliseconds: {threads: median for one image}.
    reason: why the file did not pass, or "".
    unpaired: {"detections", "missing", "extra"}, for tasks that count them.
    note: a remark on a file that passed.
    """

    path: Path
    kind: str
    bytes: int
    differences: dict[str, dict[str, float]]
    metric: dict[str, float] | None
    milliseconds: dict[int, float]
    passed: bool
    reason: str
    unpaired: dict[str, int] | None = None
    note: str = ""


def export_all(
    model: keras.Model,
    folder: str | os.PathLike,
    name: str,
    *,
    about: About,
    calibration: Iterable[np.ndarray],
    images: Iterable[np.ndarray],
    score: Callable[[Predict], float] | None = None,
    scored: int | None = None,
    kinds: Sequence[str] = tflite.KINDS,
    tolerances: Mapping[str, Tolerance] | None = None,
) -> list[ExportedFile]:
    """Write NAME.tflite, NAME_float16.tflite, NAME_int8.tflite and NAME.json (labels, size, parity) to `folder`.

    model: image to the `OUTPUTS` of the task that `about` names.
    calibration, images: (h, w, 3) uint8 of any size; training images to calibrate int8, and test images to compare on.
    score: a function from one like `Predictor.predict` to a metric of the task, higher being better; it is called for
        the Keras model and for each file.
    scored: number of images that it scores, if it is not all.
    tolerances: by default those of the task for so many images (`on_images`), or where a row may vary, those of
        `where_rows_vary`.

    A file out of tolerance is kept for inspection as NAME_int8.failed.tflite, a good one from an earlier export is
    removed, and ParityError is raised after all files have been written. NAME.json is removed first and written last,
    so that it always describes the files beside it. Raises UserError, with nothing written, if the model cannot be
    exported or if there are no images.
    """
    folder = Path(folder)
    check_outputs(model, about)

    def placed(image):
        return placement(image.shape[:2], about.image_size, about.resize).image(image)

    samples = [placed(image) for image in images]
    if not samples:
        raise UserError("the parity check needs images but got none; give some that the model was not trained on")
    calibration = [placed(image) for image in calibration]
    if tolerances is None:
        tolerances = on_images(TASKS[about.task].TOLERANCES, scored or len(samples))
        if getattr(about.decoder, "rows_vary", False):
            tolerances = where_rows_vary(tolerances)

    reference = KerasPredictor(in_float32(model), about)
    expected = [reference.outputs(sample) for sample in samples]
    keras_metric = score and float(score(reference.predict))

    finished = []
    with tflite.source(model, about.image_size) as source:
        for kind in kinds:
            content = tflite.convert_source(source, model, about.image_size, kind, calibration)
            content = attach(content, dataclasses.replace(about, kind=kind))
            good = folder / (f"{name}.tflite" if kind == "float32" else f"{name}_{kind}.tflite")
            with tempfile.TemporaryDirectory() as staging:
                staged = Path(staging) / good.name
                staged.write_bytes(content)
                record = compared(staged, kind, about, samples, expected, keras_metric, score, tolerances[kind])
            finished.append((good, content, record))

    (folder / f"{name}.json").unlink(missing_ok=True)
    exported = []
    for good, content, record in finished:
        bad = good.with_suffix(".failed.tflite")
        path, stale = (good, bad) if record.passed else (bad, good)
        stale.unlink(missing_ok=True)
        with files.replacing(path) as temporary:
            temporary.write_bytes(content)
        exported.append(dataclasses.replace(record, path=path))
    write_summary(folder / f"{name}.json", about, len(samples), exported)
    if not all(file.passed for file in exported):
        raise ParityError(exported)
    return exported


def check_outputs(model: keras.Model, about: About) -> None:
    """Raises UserError unless the model's outputs are those of the task, with one class for each label."""
    task = TASKS[about.task]
    if not isinstance(model.output, dict) or set(model.output) != set(task.OUTPUTS):
        raise UserError(
            f"model {model.name!r} does not return {', '.join(task.OUTPUTS)}, as a {about.task} model must for export"
        )
    classes = task.num_classes(model.output)
    if classes not in (None, len(about.labels)):
        raise UserError(
            f"model {model.name!r} has {classes} classes but got {len(about.labels)} labels; give one for each class"
        )


def compared(
    path: Path,
    kind: str,
    about: About,
    samples: Sequence[np.ndarray],
    expected: Sequence[dict[str, np.ndarray]],
    keras_metric: float | None,
    score: Callable[[Predict], float] | None,
    tolerance: Tolerance,
) -> ExportedFile:
    """The record of the file at `path`, whose outputs for `samples` are compared with the `expected` ones. about: that
    of the Keras model."""
    predictor = Predictor(path)
    got = [predictor.outputs(sample) for sample in samples]
    differences, unpaired = TASKS[about.task].differences(expected, got, about)
    metric = score and {"keras": keras_metric, "file": float(score(predictor.predict))}
    reason = ", ".join(excesses(differences, metric, tolerance, unpaired))
    return ExportedFile(
        path=path,
        kind=kind,
        bytes=path.stat().st_size,
        differences=differences,
        metric=metric,
        milliseconds={threads: Predictor(path, threads).latency() for threads in (1, 2)},
        passed=not reason,
        reason=reason,
        unpaired=unpaired,
        note=NOTHING_PROVED if metric and not metric["keras"] > 0 else "",
    )


def excesses(
    differences: dict[str, dict[str, float]],
    metric: dict[str, float] | None,
    tolerance: Tolerance,
    unpaired: dict[str, int] | None = None,
) -> Iterator[str]:
    """Descriptions of everything that is out of tolerance or not finite."""
    limits = {"maximum": tolerance.maximum, "mean": tolerance.mean}
    for name, values in differences.items():
        for which, limit in limits.items():
            if limit is not None and not values[which] <= limit:
                yield f"{which} difference of {name} {values[which]:.3g} where {limit:g} is allowed"
    if unpaired and tolerance.unpaired is not None:
        there, missing, extra = unpaired["detections"], unpaired["missing"], unpaired["extra"]
        limit = math.ceil(tolerance.unpaired * there)
        if missing + extra > limit or 0 < there == missing:
            yield f"{missing} of {there} detections missing and {extra} extra where {limit} are allowed"
    if metric and tolerance.metric is not None and not metric["keras"] - metric["file"] <= tolerance.metric:
        scores = f"score {metric['file']:.4f} where the Keras model has {metric['keras']:.4f}"
        yield f"{scores} and a loss of {tolerance.metric:.3g} is allowed"


def write_summary(path: Path, about: About, images: int, exported: Sequence[ExportedFile]) -> None:
    records = [dataclasses.asdict(file) | {"path": file.path.name} for file in exported]
    files.write_json(
        path,
        {
            "task": about.task,
            "labels": about.labels,
            "image_size": about.image_size,
            "resize": about.resize,
            "outputs": TASKS[about.task].OUTPUTS,
            "thresholds": dataclasses.asdict(about.thresholds),
            "kerastransfer": about.version,
            "parity": {"images": images, "files": records},
        },
    )

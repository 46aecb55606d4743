"""Export with proof: every file is compared with the Keras model on real images before it gets its name."""

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
from kerastransfer.tasks import pairing
from kerastransfer.tasks.metadata import MEANINGS, Metadata, Thresholds, attach
from kerastransfer.tasks.prediction import Prediction

Predict = Callable[..., Prediction]  # called like Predictor.predict


class ParityError(Exception):
    """An exported file does not do what the Keras model does: one line, and in `files` the records of all files.

    Not the user's mistake: the command line prints the message and exits with code 1, not 2.
    """

    def __init__(self, exported: Sequence["ExportedFile"]):
        super().__init__("; ".join(f"{file.path}: {file.reason}" for file in exported if not file.passed))
        self.files = list(exported)


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the Keras model: the largest and the mean absolute difference of any output, and what
    the task metric may lose. None: any distance.

    Rows of "instances" are compared in pairs (`export.pairing`). unpaired: how many detections, of the scores that a
    person sees (`Thresholds.score`), may be in one of both alone, as a share of all, rounded up.
    """

    maximum: float | None = None
    mean: float | None = None
    metric: float | None = 0.01
    unpaired: float | None = 0.0


TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(maximum=1e-3),
    "float16": Tolerance(maximum=0.05, mean=0.005),
    "int8": Tolerance(mean=0.05),
}
INSTANCES: Mapping[str, Tolerance] = {
    **TOLERANCES,
    # No maximum: of two candidates whose scores differ by less than half precision knows, suppression may keep the
    # other, with a box beside the first one's and a mask from another map (once in 421 rows of 27 photos).
    "float16": Tolerance(mean=0.005, unpaired=0.02),
    "int8": Tolerance(mean=0.05, metric=0.02, unpaired=0.1),
}


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """A file, and how it compares with the Keras model (computing in float32) that it was made from.

    differences: {output: {"maximum", "mean"}} of the absolute difference over the images. metric: {"keras", "file"},
    None without a score. milliseconds: {threads: median for one image}. reason: why it did not pass, or "". unpaired:
    of "instances", how many detections there are, are missing and are extra (`pairing.differences`).
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


def export_all(
    model: keras.Model,
    folder: str | os.PathLike,
    name: str,
    *,
    task: str,
    labels: Sequence[str],
    image_size: tuple[int, int],
    calibration: Iterable[np.ndarray],
    images: Iterable[np.ndarray],
    score: Callable[[Predict], float] | None = None,
    kinds: Sequence[str] = tflite.KINDS,
    thresholds: Thresholds | None = None,
    resize: str = "stretch",
    tolerances: Mapping[str, Tolerance] | None = None,
) -> list[ExportedFile]:
    """Write NAME.tflite, NAME_float16.tflite, NAME_int8.tflite and NAME.json (labels, size, parity) to `folder`.

    model: image to the outputs of `metadata.MEANINGS[task]`. calibration, images: (h, w, 3) uint8 of any size, the
    first from training, the second not. score: a task metric, higher is better, of a function that is called like
    `Predictor.predict`; it is called for the Keras model and for each file. tolerances: TOLERANCES, or INSTANCES for
    that task.

    A file out of tolerance is kept, for a look, as NAME_int8.failed.tflite, and a good one of an earlier export goes;
    when all are written, ParityError is raised. NAME.json is removed first and written last: where it is, it tells
    the truth about the files beside it. Raises UserError, with nothing written, if the model cannot be exported or
    there are no images.
    """
    folder = Path(folder)
    tolerances = tolerances or (INSTANCES if task == "instances" else TOLERANCES)
    check_outputs(model, task, labels)
    metadata = Metadata(task, tuple(labels), tuple(image_size), thresholds=thresholds or Thresholds(), resize=resize)
    samples = [placement(image.shape[:2], metadata.image_size, resize).image(image) for image in images]
    if not samples:
        raise UserError("parity is checked on images and got none: give some that the model was not trained on")
    calibration = [placement(image.shape[:2], metadata.image_size, resize).image(image) for image in calibration]

    reference = KerasPredictor(in_float32(model), metadata)
    expected = [reference.outputs(sample) for sample in samples]
    keras_metric = score and float(score(reference.predict))

    finished = []
    with tflite.source(model, image_size) as source:
        for kind in kinds:
            content = tflite.convert_source(source, model, image_size, kind, calibration)
            content = attach(content, dataclasses.replace(metadata, kind=kind))
            good = folder / (f"{name}.tflite" if kind == "float32" else f"{name}_{kind}.tflite")
            with tempfile.TemporaryDirectory() as staging:
                staged = Path(staging) / good.name
                staged.write_bytes(content)
                record = compared(staged, kind, samples, expected, keras_metric, score, tolerances[kind])
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
    write_summary(folder / f"{name}.json", metadata, len(samples), exported)
    if not all(file.passed for file in exported):
        raise ParityError(exported)
    return exported


def check_outputs(model: keras.Model, task: str, labels: Sequence[str]) -> None:
    """Raise UserError unless the model's outputs are those of the task, with one class for each label."""
    wanted = MEANINGS[task]
    if not isinstance(model.output, dict) or set(model.output) != set(wanted):
        raise UserError(f"model {model.name!r} does not give {', '.join(wanted)}: a {task} model must, to be exported")
    classes = model.output[list(wanted)[-1]].shape[-1] if task != "instances" else len(labels)
    if classes != len(labels):
        raise UserError(f"model {model.name!r} has {classes} classes and got {len(labels)} labels; give one for each")


def compared(
    path: Path,
    kind: str,
    samples: Sequence[np.ndarray],
    expected: Sequence[dict[str, np.ndarray]],
    keras_metric: float | None,
    score: Callable[[Predict], float] | None,
    tolerance: Tolerance,
) -> ExportedFile:
    """The record of the file at `path`, from its outputs for `samples` beside the `expected` ones."""
    predictor = Predictor(path)
    got = [predictor.outputs(sample) for sample in samples]
    unpaired = None
    if predictor.metadata.task == "instances":
        differences, unpaired = pairing.differences(expected, got, predictor.metadata.thresholds.score)
    else:
        differences = row_by_row(expected, got)
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
    )


def row_by_row(
    expected: Sequence[dict[str, np.ndarray]], got: Sequence[dict[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """{output: {"maximum", "mean"}} of the absolute difference."""
    found = {}
    for name in expected[0]:
        apart = np.stack([np.abs(g[name] - e[name]) for g, e in zip(got, expected, strict=True)])
        found[name] = {"maximum": float(apart.max()), "mean": float(apart.mean())}
    return found


def excesses(
    differences: dict[str, dict[str, float]],
    metric: dict[str, float] | None,
    tolerance: Tolerance,
    unpaired: dict[str, int] | None = None,
) -> Iterator[str]:
    """Words for all that is out of tolerance, or not a number."""
    limits = {"maximum": tolerance.maximum, "mean": tolerance.mean}
    for name, values in differences.items():
        for which, limit in limits.items():
            if limit is not None and not values[which] <= limit:
                yield f"{which} difference of {name} {values[which]:.3g} where {limit:g} is allowed"
    if unpaired and tolerance.unpaired is not None:
        missing, extra, limit = unpaired["missing"], unpaired["extra"], tolerance.unpaired * unpaired["detections"]
        if missing + extra > math.ceil(limit):
            yield f"{missing} of {unpaired['detections']} detections missing and {extra} extra"
    if metric and tolerance.metric is not None and not metric["keras"] - metric["file"] <= tolerance.metric:
        yield f"metric {metric['file']:.4f} after {metric['keras']:.4f} where a loss of {tolerance.metric:g} is allowed"


def write_summary(path: Path, metadata: Metadata, images: int, exported: Sequence[ExportedFile]) -> None:
    records = [dataclasses.asdict(file) | {"path": file.path.name} for file in exported]
    files.write_json(
        path,
        {
            "task": metadata.task,
            "labels": metadata.labels,
            "image_size": metadata.image_size,
            "resize": metadata.resize,
            "outputs": MEANINGS[metadata.task],
            "thresholds": dataclasses.asdict(metadata.thresholds),
            "kerastransfer": metadata.version,
            "parity": {"images": images, "files": records},
        },
    )

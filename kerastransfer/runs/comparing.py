"""Runs side by side: their metrics, and intervals of the differences where they were scored on the same test images."""

import csv
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer import files
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap, voc
from kerastransfer.metrics.detection import IGNORED_AREA
from kerastransfer.runs.folder import is_run
from kerastransfer.tasks import TASKS

RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run's folder holds. results: {model: {metric: value}}. per_image: {model: {image: score}}. history: the
    rows of history.csv."""

    name: str
    path: Path
    recipe: str
    data: str
    results: dict[str, dict[str, float]]
    per_image: dict[str, dict[str, float]]
    history: list[dict[str, str]]

    def task(self, model: str) -> str | None:
        """The task of a model, by its scores; masks come with boxes."""
        tasks = ("instances", *(name for name in TASKS if name != "instances"))
        return next((name for name in tasks if TASKS[name].MAIN in self.results[model]), None)

    def coco(self, name: str) -> Any:
        return files.read_json(self.path / "predictions" / f"{name}.json")


@dataclasses.dataclass(frozen=True)
class Difference:
    """first minus second, (run, model) each, with the ends of its 95 % interval; NaN, and `note` why, if unpaired."""

    first: tuple[str, str]
    second: tuple[str, str]
    metric: str
    value: float
    low: float = math.nan
    high: float = math.nan
    images: int = 0
    note: str = ""


def read(folders: Sequence[str | Path]) -> list[Run]:
    """The runs in these folders. Raises UserError for one that holds no run, or no scores yet."""
    paths = [Path(one) for one in folders]
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise UserError("compare needs two or more different runs; give their folders, such as saved_models/A")
    return [_run(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _names(paths):
    """The end of each path, as long as is needed to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names


def _run(path: Path, name: str) -> Run:
    if not is_run(path):
        raise UserError(f"{path}: not the folder of a run; give a folder with config.toml, such as saved_models/A")
    metrics = files.read_json(path / "metrics.json")
    if not isinstance(metrics, dict) or not isinstance(metrics.get("results"), dict):
        raise UserError(f"{path}: the run has no scores yet; finish it with --resume")
    results = {model: _numbers(of_model) for model, of_model in metrics["results"].items()}
    phases = files.read_json(path / "phases.json", {})
    per_image = {
        model: _numbers(phases.get(f"score_{model}", {}).get("result", {}).get("per_image", {})) for model in results
    }
    history = path / "history.csv"
    rows = []
    if history.exists():
        with history.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    return Run(name, path, str(metrics.get("recipe")), str(metrics.get("data")), results, per_image, rows)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """JSON has null for NaN."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def differences(runs: Sequence[Run]) -> list[Difference]:
    """Of every two runs, the models of the same name and task; without such, all those of the same task."""
    found = []
    for first, second in itertools.combinations(runs, 2):
        pairs = [
            (a, b)
            for a, b in itertools.product(first.results, second.results)
            if first.task(a) and first.task(a) == second.task(b)
        ]
        named = [pair for pair in pairs if pair[0] == pair[1]]
        found += [_difference(first, a, second, b) for a, b in named or pairs]
    return found


def _difference(first: Run, a: str, second: Run, b: str) -> Difference:
    name = first.task(a)
    task = TASKS[name]
    ends = (first.name, a), (second.name, b)
    metric = task.MAIN
    apart = first.results[a][metric] - second.results[b][metric]
    if task.EACH:
        one, other = first.per_image[a], second.per_image[b]
        if not one or not other:
            return Difference(*ends, metric, apart, note="no scores of single images, as of a run over seeds")
        if one.keys() != other.keys() or not _same_truth(first, second, name):
            return Difference(*ends, metric, apart, note=_unpaired(one.keys(), other.keys()))
        values = [np.array([of[image] for image in one]) for of in (one, other)]
        return Difference(*ends, f"{task.EACH} of an image", *bootstrap.paired_difference(*values), images=len(one))
    truths = [run.coco(f"truth_{name}") for run in (first, second)]
    suffix = "_boxes" if name == "instances" else ""
    results = [run.coco(f"{model}{suffix}") for run, model in ((first, a), (second, b))]
    if any(one is None for one in (*truths, *results)):
        return Difference(*ends, metric, apart, note="no predictions are kept, as of a run over seeds")
    arrays = [_arrays(truth, result) for truth, result in zip(truths, results, strict=True)]
    (images, classes, true, found), (others, other_classes, other_true, other_found) = arrays
    if images != others or classes != other_classes or not _equal(true, other_true):
        return Difference(*ends, metric, apart, note=_unpaired(images, others))
    weights = bootstrap.resampled(len(images), resamples=RESAMPLES)
    whole, drawn = [], []
    for one in (found, other_found):
        matches = voc.match(true, one, len(classes))
        whole.append(float(voc.mean(matches.average_precision(0.5, "101-point"))))
        drawn.append(voc.mean(matches.average_precision(0.5, "101-point", weights)))
    interval = bootstrap.percentiles(whole[0] - whole[1], drawn[0] - drawn[1])
    return Difference(*ends, "AP50", *interval, images=len(images))


def _unpaired(one, other) -> str:
    shared = len(set(one) & set(other))
    if shared == len(set(one) | set(other)):
        return "not paired: the test images have other annotations"
    return f"not paired: other test images ({shared} of {len(set(one))} and {len(set(other))} are shared)"


def _same_truth(first: Run, second: Run, task: str) -> bool:
    """Whether the annotations of images of the same name are the same; where none are kept, by the name of the data."""
    truths = [run.coco(f"truth_{task}") for run in (first, second)]
    if any(truth is None for truth in truths):
        return Path(first.data).name == Path(second.data).name
    one, other = (_arrays(truth, []) for truth in truths)
    return one[:2] == other[:2] and _equal(one[2], other[2])


def _arrays(truth: Mapping, results: Sequence[Mapping]) -> tuple[list, list, list[dict], list[dict]]:
    """(image names, class names, truths, detections) of COCO's forms, as `metrics.voc` reads them."""
    images = {image["id"]: image["file_name"] for image in truth["images"]}
    classes = {category["id"]: number for number, category in enumerate(truth["categories"])}

    def by_image(entries):
        each = {image: [] for image in images}
        for entry in entries:
            each[entry["image_id"]].append(entry)
        return [each[image] for image in images]

    def arrays(entries, **more):
        boxes = np.array([one.get("bbox", (0, 0, 0, 0)) for one in entries], np.float64).reshape(-1, 4)
        x, y, width, height = boxes.T
        labels = np.array([classes[one["category_id"]] for one in entries], np.int64)
        return {"boxes": np.stack([y, x, y + height, x + width], axis=-1), "labels": labels, **more}

    true = [
        arrays(of, difficult=np.array([bool(a.get("iscrowd")) or a.get("area") == IGNORED_AREA for a in of], bool))
        for of in by_image(truth["annotations"])
    ]
    found = [arrays(of, scores=np.array([one["score"] for one in of], np.float64)) for of in by_image(results)]
    return list(images.values()), [category["name"] for category in truth["categories"]], true, found


def _equal(one: Sequence[Mapping], other: Sequence[Mapping]) -> bool:
    return len(one) == len(other) and all(
        a[name].shape == b[name].shape and np.allclose(a[name], b[name])
        for a, b in zip(one, other, strict=True)
        for name in a
    )

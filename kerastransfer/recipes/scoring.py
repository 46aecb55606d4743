"""A predictor of any file format, scored on a data set at the size of its own images."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kerastransfer.data.dataset import VOID, Dataset, Sample
from kerastransfer.errors import UserError
from kerastransfer.metrics import detection, segmentation

LOWEST_SCORE = 0.001  # average precision wants the whole curve, not the few boxes that a person wants to see

Predict = Callable[..., Any]  # as `export.predictor.Predictor.predict`
Progress = Callable[[Sequence[Sample]], Iterable[Sample]]


def score(
    predict: Predict, dataset: Dataset, task: str, labels: Sequence[str], *, progress: Progress = iter
) -> dict[str, float]:
    """What `metrics.detection.evaluate` or `metrics.segmentation.summarise` say of a model of this `task`.

    labels: names of the model's classes. Truth is matched to them by name: an object of a class that the model does not
    know counts nowhere, such a pixel is void (`unknown_classes` names them). progress: wraps the samples, for a bar.
    Raises UserError when no sample is annotated for the task, or no class of the data is known to the model.
    """
    return {"detection": _detection, "segmentation": _segmentation}[task](predict, dataset, list(labels), progress)


def unknown_classes(dataset: Dataset, task: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Classes of the data that a model with these `labels` does not know."""
    return tuple(name for name in _classes(dataset, task) if name not in labels)


def _classes(dataset, task):
    return dataset.classes if task == "detection" else dataset.segmentation_classes


def _matched(dataset, task, labels, field, unknown):
    """The samples to score, and for each class of the data the model's number for it, or `unknown`."""
    samples = dataset.having(field).samples
    classes = _classes(dataset, task)
    if not samples:
        raise UserError(f"{dataset.name}: no image is annotated with {field}, which scoring a {task} model needs")
    foreground = set(classes) - ({"background"} if task == "segmentation" else set())
    if foreground.isdisjoint(labels):
        raise UserError(
            f"{dataset.name} has the classes {_listed(classes)}, the model {_listed(labels)}: none in common"
        )
    return samples, np.array([labels.index(name) if name in labels else unknown for name in classes])


def _listed(names, most=8):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _detection(predict, dataset, labels, progress):
    samples, number = _matched(dataset, "detection", labels, "boxes", -1)
    truths, detections = [], []
    for sample in progress(samples):
        example = sample.read()
        found = predict(example["image"], score=LOWEST_SCORE)
        truths.append(
            {
                "name": sample.name,
                "size": example["image"].shape[:2],
                "boxes": example["boxes"],
                "labels": number[example["labels"]],
                "crowd": example["crowd"],
            }
        )
        detections.append({"name": sample.name, "boxes": found.boxes, "scores": found.scores, "labels": found.labels})
    return detection.evaluate(truths, detections, labels)


def _segmentation(predict, dataset, labels, progress):
    samples, number = _matched(dataset, "segmentation", labels, "segmentation", VOID)
    value = np.full(256, VOID, np.uint8)
    value[: len(number)] = number
    each = []
    for sample in progress(samples):
        example = sample.read()
        truth = value[example["segmentation"]]
        each.append(segmentation.per_image([truth], [predict(example["image"]).segmentation], len(labels)))
    return segmentation.summarise({name: np.concatenate([one[name] for one in each]) for name in each[0]}, labels)

"""A predictor of any file format, scored on a data set at the size of its own images."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.errors import UserError
from kerastransfer.metrics import detection, segmentation
from kerastransfer.vocabulary import VOID

LOWEST_SCORE = 0.001  # average precision wants the whole curve, not the few boxes that a person wants to see

Predict = Callable[..., Any]  # as `export.predictor.Predictor.predict`
Progress = Callable[[Sequence[Sample]], Iterable[Sample]]


@dataclasses.dataclass(frozen=True)
class Scored:
    """metrics: one number each. per_image: {name: IoU} of a segmenter, NaN where nothing is to be found; {} of a
    detector. coco_truth, coco_results: what was true and what was predicted, as any COCO tool reads them."""

    metrics: dict[str, float]
    per_image: dict[str, float]
    coco_truth: dict[str, Any]
    coco_results: list[dict[str, Any]]


def score(
    predict: Predict, dataset: Dataset, task: str, labels: Sequence[str], *, progress: Progress = iter
) -> dict[str, float]:
    """The metrics alone of `scored`."""
    return scored(predict, dataset, task, labels, progress=progress).metrics


def scored(
    predict: Predict, dataset: Dataset, task: str, labels: Sequence[str], *, progress: Progress = iter
) -> Scored:
    """What `metrics.detection.evaluate` or `metrics.segmentation.summarise` say of a model of this `task`.

    labels: names of the model's classes. Truth is matched to them by name: an object of a class that the model does not
    know counts nowhere, such a pixel is void (`unknown_classes` names them). progress: wraps the samples, for a bar.
    Raises UserError when no sample is annotated for the task, or no class of the data is known to the model.
    """
    of_task = {"detection": _detection, "instances": _instances, "segmentation": _segmentation}
    return of_task[task](predict, dataset, list(labels), progress)


def unknown_classes(dataset: Dataset, task: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Classes of the data that a model with these `labels` does not know."""
    return tuple(name for name in _classes(dataset, task) if name not in labels)


def _classes(dataset, task):
    return dataset.segmentation_classes if task == "segmentation" else dataset.classes


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
                "difficult": example["difficult"],
                "area": example.get("area"),
            }
        )
        detections.append({"name": sample.name, "boxes": found.boxes, "scores": found.scores, "labels": found.labels})
    truth = detection.coco_truth(truths, labels)
    return Scored(detection.evaluate(truths, detections, labels), {}, truth, detection.coco_results(detections, truth))


def _instances(predict, dataset, labels, progress):
    """Of boxes and of masks, whose metrics are called mask_AP and so on."""
    samples, number = _matched(dataset, "instances", labels, "masks", -1)
    found = []

    def truths(masks):
        for sample in samples:
            example = sample.read()
            truth = {"name": sample.name, "size": example["image"].shape[:2], "labels": number[example["labels"]]}
            truth |= {key: example[key] for key in ("boxes", "crowd", "difficult", *masks)}
            truth["area"] = example.get("area")
            yield truth

    def predictions():
        for sample in progress(samples):
            one = predict(sample.read()["image"], score=LOWEST_SCORE)
            found.append({"name": sample.name, "boxes": one.boxes, "scores": one.scores, "labels": one.labels})
            yield {**found[-1], "masks": one.masks}

    # Masks are compressed one image at a time: all of them at full size would not fit into memory.
    truth = detection.coco_truth(truths(["masks"]), labels, iou_type="segm")
    results = detection.coco_results(predictions(), truth, iou_type="segm")
    metrics = detection.evaluate(truths([]), found, labels)
    of_masks = detection.evaluate_coco(truth, results, labels, iou_type="segm")
    return Scored(metrics | {f"mask_{name}": value for name, value in of_masks.items()}, {}, truth, results)


def _segmentation(predict, dataset, labels, progress):
    samples, number = _matched(dataset, "segmentation", labels, "segmentation", VOID)
    value = np.full(256, VOID, np.uint8)
    value[: len(number)] = number

    def truths():
        for sample in samples:
            yield _regions(sample.name, value[sample.read()["segmentation"]], len(labels))

    # Masks are compressed one image at a time: all of them at full size would not fit into memory.
    truth = detection.coco_truth(truths(), labels[1:], iou_type="segm")
    each, results = [], []
    for sample in progress(samples):
        example = sample.read()
        prediction = predict(example["image"]).segmentation
        each.append(segmentation.per_image([value[example["segmentation"]]], [prediction], len(labels)))
        results += detection.coco_results([_regions(sample.name, prediction, len(labels))], truth, iou_type="segm")
    scores = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
    per_image = dict(zip([sample.name for sample in samples], scores["iou"].tolist(), strict=True))
    return Scored(segmentation.summarise(scores, labels), per_image, truth, results)


def _regions(name, classes, num_classes):
    """The pixels of each foreground class in one image as one object, for COCO's forms."""
    present = [k for k in range(1, num_classes) if (classes == k).any()]
    masks = [classes == k for k in present]
    return {
        "name": name,
        "size": classes.shape,
        "boxes": np.array([_box(mask) for mask in masks]).reshape(-1, 4),
        "labels": np.array(present, np.int32) - 1,
        "scores": np.ones(len(present)),
        "masks": masks,
    }


def _box(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corners = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
    return np.array(corners) / np.tile(mask.shape, 2)

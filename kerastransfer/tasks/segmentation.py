"""Semantic segmentation: a class for each pixel."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from kerastransfer.data.dataset import Dataset
from kerastransfer.data.letterbox import placement
from kerastransfer.tasks import drawing
from kerastransfer.tasks.about import About, Thresholds
from kerastransfer.tasks.matched import matched
from kerastransfer.tasks.scored import Predict, Progress, Scored, Shown
from kerastransfer.tasks.tolerance import TOLERANCES as TOLERANCES
from kerastransfer.tasks.tolerance import Counts, Differences, Outputs, row_by_row
from kerastransfer.vocabulary import VOID

if TYPE_CHECKING:
    import keras

FIELD = "segmentation"
OUTPUTS = {"segmentation": "(1, H, W, K), probabilities of the classes at each pixel; class 0 is background"}
MAIN = KEPT = "iou_mean"
DECODED = False
EACH = "IoU"
# Foreground that covers at least this share of an image must not vanish in an exported file.
CLEAR = 0.01


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """segmentation: (H, W) uint8, the class of each pixel of the image. probabilities: (h, w, K) float32, at the size
    of the model's output (of a letterboxed image, the part with the image). names: of the K classes."""

    segmentation: np.ndarray
    probabilities: np.ndarray
    names: tuple[str, ...]

    def summary(self) -> list[dict]:
        """The classes that occur, for JSON: label and fraction of the image's pixels."""
        pixels = np.bincount(self.segmentation.ravel(), minlength=len(self.names))
        shares = zip(self.names, (pixels / pixels.sum()).tolist(), strict=True)
        return [{"label": name, "fraction": share} for name, share in shares if share > 0]

    def in_words(self) -> str:
        """One line: the classes other than background and their shares of the image."""
        shares = [one for one in self.summary() if one["label"] != self.names[0]]
        return ", ".join(f"{one['label']} {one['fraction']:.1%}" for one in shares) or "nothing"

    def draw(self, image: np.ndarray, alpha: float = 0.5) -> PIL.Image.Image:
        """`image` (H, W, 3) uint8 with the classes other than background in colour."""
        return drawing.classes(image, self.segmentation, len(self.names), alpha)


def classes(dataset: Dataset) -> tuple[str, ...]:
    return dataset.segmentation_classes


def num_classes(outputs: Mapping[str, Any]) -> int | None:
    return outputs["segmentation"].shape[-1]


def graph(network: "keras.Model", about: About) -> "keras.Model":
    from kerastransfer.models import predictor

    return predictor.probabilities(network, about.image_size)


def interpret(outputs: Outputs, about: About, size: tuple[int, int], limits: Thresholds) -> Segmentation:
    probabilities = placement(tuple(size), about.image_size, about.resize).cut(outputs["segmentation"])
    return Segmentation(classes_at(probabilities, size), probabilities, about.labels)


def classes_at(probabilities: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """The most likely class (H, W) uint8 of each pixel of the image, from probabilities (h, w, K) scaled bilinearly.

    Works on one class at a time, because the probabilities of a large photo with many classes would not fit in memory.
    """
    best = np.full(image_size, -np.inf, np.float32)
    chosen = np.zeros(image_size, np.uint8)
    for k in range(probabilities.shape[-1]):
        layer = PIL.Image.fromarray(np.ascontiguousarray(probabilities[..., k]))
        layer = np.asarray(layer.resize(image_size[::-1], PIL.Image.Resampling.BILINEAR))
        chosen[layer > best] = k
        best = np.maximum(best, layer)
    return chosen


def differences(expected: Sequence[Outputs], got: Sequence[Outputs], about: About) -> tuple[Differences, Counts | None]:
    """Differences of the probabilities pixel by pixel, and in how many images a clear foreground has vanished."""
    maps = [[one["segmentation"].argmax(axis=-1) > 0 for one in side] for side in (expected, got)]
    clear = [(ours, theirs) for ours, theirs in zip(*maps, strict=True) if ours.mean() >= CLEAR]
    vanished = sum(not (ours & theirs).any() for ours, theirs in clear)
    return row_by_row(expected, got), {"detections": len(clear), "missing": vanished, "extra": 0}


def score(
    predict: Predict, dataset: Dataset, labels: Sequence[str], progress: Progress = iter, keep: bool = False
) -> Scored:
    """IoU and Dice per image and over the data set (`metrics.segmentation`); pixels of a class that the model does not
    know are void."""
    from kerastransfer.metrics import detection, segmentation

    samples, number = matched(dataset, FIELD, classes(dataset), labels, VOID)
    value = np.full(256, VOID, np.uint8)
    value[: len(number)] = number
    each, truths, found = [], [], []
    for sample in progress(samples):
        example = sample.read()
        truth, prediction = value[example["segmentation"]], predict(example["image"]).segmentation
        each.append(segmentation.per_image([truth], [prediction], len(labels)))
        if keep:
            truths.append(_regions(sample.name, truth, len(labels)) | {"owner": sample.owner})
            found.append(_regions(sample.name, prediction, len(labels)))
    scores = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
    per_image = dict(zip([sample.name for sample in samples], scores["iou"].tolist(), strict=True))
    metrics = segmentation.summarise(scores, labels)
    if not keep:
        return Scored(metrics, per_image)
    truth = detection.coco_truth(truths, labels[1:], iou_type="segm", category_ids=dataset.category_ids)
    return Scored(metrics, per_image, truth, {"": detection.coco_results(found, truth, iou_type="segm")})


def _regions(name, classes, num_classes):
    """The pixels of each foreground class in an image as one object, for COCO's formats; masks are compressed."""
    from kerastransfer.metrics import detection

    present = [k for k in range(1, num_classes) if (classes == k).any()]
    masks = np.stack([classes == k for k in present]) if present else np.zeros((0, *classes.shape), bool)
    return {
        "name": name,
        "size": classes.shape,
        "boxes": np.array([_box(mask) for mask in masks]).reshape(-1, 4),
        "labels": np.array(present, np.int32) - 1,
        "scores": np.ones(len(present)),
        "masks": detection.compressed(masks),
    }


def _box(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corners = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
    return np.array(corners) / np.tile(mask.shape, 2)


def figures(models: Mapping[str, Shown], dataset: Dataset, test: Dataset) -> Iterator[tuple]:
    """A sheet with all models, of the images on which the last model is best, median and worst."""
    from kerastransfer.report import pictures
    from kerastransfer.report.page import Figure

    *_, (last, leading) = models.items()
    names = list(leading.per_image)
    chosen = pictures.best_median_worst(np.array(list(leading.per_image.values())), each=2)
    picked = [(f"{rank}: {names[index]}", names[index]) for rank, indices in chosen.items() for index in indices]
    samples = {sample.name: sample for sample in test.samples}
    examples = [samples[name].read() for _, name in picked]
    picture = pictures.masks(
        [example["image"] for example in examples],
        [example["segmentation"] for example in examples],
        {model: [shown.predict(one["image"]).segmentation for one in examples] for model, shown in models.items()},
        names=[title for title, _ in picked],
        scores={model: [shown.per_image[name] for _, name in picked] for model, shown in models.items()},
    )
    caption = f"Image, ground truth and each model; best, median and worst test images by the IoU of {last}."
    yield "masks", Figure("Masks", caption, b""), picture

"""Object detection: boxes, each with a class and a score."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.data.letterbox import placement
from kerastransfer.tasks import drawing, pairing
from kerastransfer.tasks.about import About, Thresholds
from kerastransfer.tasks.matched import matched
from kerastransfer.tasks.scored import LOWEST_SCORE, Predict, Progress, Scored, Shown
from kerastransfer.tasks.suppression import suppress
from kerastransfer.tasks.tolerance import TOLERANCES as TOLERANCES
from kerastransfer.tasks.tolerance import Counts, Differences, Outputs, row_by_row

if TYPE_CHECKING:
    import keras
    import PIL.Image

FIELD = "boxes"
# Largest difference of raw outputs that is a rounding error.
ROUNDING = 1e-4
OUTPUTS = {
    "boxes": "(1, A, (y1, x1, y2, x2)), fractions of the image, before non-maximum suppression",
    "scores": "(1, A, K), one for each box and class; higher is more certain",
}
MAIN = "AP50"
# Not AP50, which on a few dozen images changes by hundredths when a few boxes cross an IoU of 0.5 in either direction;
# AP is the mean over ten such thresholds.
KEPT = "AP"
DECODED = True
EACH = None
# Number of images in the report.
SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Detections:
    """boxes: (N, (y1, x1, y2, x2)) float32, fractions of the image. scores: (N,) float32, descending. labels: (N,)
    int32. names: the name of each box's label. image_size: (H, W) of the image in pixels."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    image_size: tuple[int, int]

    @property
    def pixel_boxes(self) -> np.ndarray:
        """boxes (N, (y1, x1, y2, x2)) in pixels of the image."""
        return self.boxes * np.tile(np.asarray(self.image_size, np.float32), 2)

    def summary(self) -> list[dict]:
        """The detections for JSON: label, score and box (y1, x1, y2, x2) in pixels."""
        found = zip(self.names, self.scores.tolist(), self.pixel_boxes.tolist(), strict=True)
        return [{"label": name, "score": score, "box": box} for name, score, box in found]

    def in_words(self) -> str:
        """One line: the labels and their scores."""
        return ", ".join(f"{n} {s:.2f}" for n, s in zip(self.names, self.scores.tolist(), strict=True)) or "nothing"

    def draw(self, image: np.ndarray, alpha: float = 0.5) -> "PIL.Image.Image":
        """`image` (H, W, 3) uint8 with boxes, labels and scores."""
        return drawing.boxes(image, self)


def classes(dataset: Dataset) -> tuple[str, ...]:
    return dataset.classes


def num_classes(outputs: Mapping[str, Any]) -> int | None:
    return outputs["scores"].shape[-1]


def graph(network: "keras.Model", about: About) -> "keras.Model":
    from kerastransfer.models import predictor

    return predictor.candidates(network, about.decoder, about.image_size)


def interpret(outputs: Outputs, about: About, size: tuple[int, int], limits: Thresholds) -> Detections:
    """Boxes in a letterboxed image are suppressed there, as inside a model, then mapped to the original image and
    clipped; boxes outside the image are left out."""
    boxes, scores = np.clip(outputs["boxes"], 0, 1), outputs["scores"]
    chosen, labels = suppress(boxes, scores, limits.score, limits.iou, limits.detections)
    inside, there = clipped(placement(tuple(size), about.image_size, about.resize).to_image(boxes[chosen]))
    chosen, labels = chosen[there], labels[there]
    names = tuple(about.labels[label] for label in labels)
    return Detections(inside, scores[chosen, labels], labels, names, tuple(size))


def clipped(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) clipped to 0..1: the boxes (M, 4) of which something is left, and which these are, (N,) bool."""
    inside = np.clip(boxes, 0, 1)
    there = ((inside[:, 2:] > inside[:, :2]) == (boxes[:, 2:] > boxes[:, :2])).all(axis=1)
    return inside[there], there


def differences(expected: Sequence[Outputs], got: Sequence[Outputs], about: About) -> tuple[Differences, Counts | None]:
    """Differences of the raw outputs row by row, and how many detections are missing or extra after suppression.

    Where a rounding error may put another candidate into a row (`decoder.rows_vary`), the differences are those of
    detections that correspond. Where all rows agree but for rounding errors, no detection counts as missing or extra:
    of a poor detector's many equal scores, these decide which ones suppression keeps, and it is not in the file."""
    limits = about.thresholds
    rows = [[_suppressed(one, limits) for one in side] for side in (expected, got)]
    apart, counts = pairing.differences(*rows, limits.score, compared=("boxes", "scores"))
    if getattr(about.decoder, "rows_vary", False):
        return apart, counts
    apart = row_by_row(expected, got)
    if all(values["maximum"] <= ROUNDING for values in apart.values()):
        counts = {**counts, "missing": 0, "extra": 0}
    return apart, counts


def _suppressed(outputs, limits):
    """Detections, in the padded form of an instance model's outputs. Scores go down to half of the score threshold, so
    that a detection just below the threshold on one side can still be paired."""
    boxes, scores = np.clip(np.nan_to_num(outputs["boxes"]), 0, 1), np.nan_to_num(outputs["scores"])
    chosen, labels = suppress(boxes, scores, limits.score / 2, limits.iou, limits.detections)
    padding = limits.detections - len(chosen)
    return {
        "boxes": np.pad(boxes[chosen], ((0, padding), (0, 0))),
        "scores": np.pad(scores[chosen, labels], (0, padding)),
        "labels": np.pad(labels, (0, padding), constant_values=-1),
        "count": len(chosen),
    }


def score(
    predict: Predict, dataset: Dataset, labels: Sequence[str], progress: Progress = iter, keep: bool = False
) -> Scored:
    """Average precision and recall as COCO defines them (`metrics.detection`)."""
    from kerastransfer.metrics import detection as metrics

    samples, number = matched(dataset, FIELD, classes(dataset), labels, -1)
    truths, detections = [], []
    for sample in progress(samples):
        example = sample.read()
        truths.append(truth_of(sample, example, number))
        detections.append(found_in(sample.name, predict(example["image"], score=LOWEST_SCORE)))
    truth = metrics.coco_truth(truths, labels, category_ids=dataset.category_ids)
    results = metrics.coco_results(detections, truth)
    return Scored(metrics.evaluate_coco(truth, results, labels), truth=truth, results={"": results} if keep else {})


def truth_of(sample: Sample, example: Mapping[str, np.ndarray], number: np.ndarray) -> dict[str, Any]:
    """An example in the form that `metrics.detection` takes, without its masks."""
    fields = [field for field in ("boxes", "crowd", "difficult", "area") if field in example]
    size = example["image"].shape[:2]
    known = {"name": sample.name, "owner": sample.owner}
    return known | {"size": size, "labels": number[example["labels"]]} | {f: example[f] for f in fields}


def found_in(name: str, found: Detections) -> dict[str, Any]:
    """Detections as `metrics.detection` reads them."""
    return {"name": name, "boxes": found.boxes, "scores": found.scores, "labels": found.labels}


def figures(models: Mapping[str, Shown], dataset: Dataset, test: Dataset) -> Iterator[tuple]:
    """For each model, a sheet of test images, each shown twice: with the ground truth and with the predictions."""
    return sheets(models, dataset, test, "detections", "What {} finds")


def sheets(models: Mapping[str, Shown], dataset: Dataset, test: Dataset, name: str, title: str) -> Iterator[tuple]:
    """The figures NAME_MODEL, whose titles have the model's name in them."""
    from kerastransfer.report import pictures
    from kerastransfer.report.page import Figure

    examples = [sample.read() for sample in test.spread(SHOWN).samples]
    images = [example["image"] for example in examples]
    for model, shown in models.items():
        # A model may know other classes than the data, in another order.
        number = {label: index for index, label in enumerate(dataset.classes)}
        found = []
        for image in images:
            one = shown.predict(image)
            labels = [number.setdefault(label, len(number)) for label in one.names]
            found.append(dataclasses.asdict(one) | {"labels": np.array(labels, np.int32)})
        figure = Figure(title.format(model), "Ground truth and predictions on test images.", b"")
        yield f"{name}_{model}", figure, pictures.detections(images, examples, found, tuple(number))

"""Instance segmentation: boxes, each with a class, a score and a mask."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer.data.dataset import Dataset
from kerastransfer.data.letterbox import placement
from kerastransfer.errors import UserError
from kerastransfer.tasks import drawing, pairing
from kerastransfer.tasks.about import About, Thresholds
from kerastransfer.tasks.detection import Detections, clipped, found_in, sheets, truth_of
from kerastransfer.tasks.matched import matched
from kerastransfer.tasks.paste import paste
from kerastransfer.tasks.scored import LOWEST_SCORE, Predict, Progress, Scored, Shown
from kerastransfer.tasks.suppression import suppress
from kerastransfer.tasks.tolerance import TOLERANCES as COMMON
from kerastransfer.tasks.tolerance import Counts, Differences, Outputs, Tolerance

if TYPE_CHECKING:
    import keras
    import PIL.Image

FIELD = "masks"
OUTPUTS = {
    "boxes": "(1, N, (y1, x1, y2, x2)), fractions of the image, after non-maximum suppression, best first",
    "scores": "(1, N), in 0..1, descending; 0 after the last detection",
    "labels": "(1, N), index of the class; -1 after the last detection",
    "masks": "(1, N, M, M), probabilities on a grid over the box; the object's pixels are those of at least 0.5",
    "count": "(1,), number of the N rows that are detections",
}
MAIN = "mask_AP50"
KEPT = "mask_AP"
DECODED = True
EACH = None
TOLERANCES: Mapping[str, Tolerance] = {
    **COMMON,
    # No maximum: if the scores of two candidates differ by less than the resolution of half precision, suppression may
    # keep the other one, with another box and a mask from another feature map (once in 421 rows of 27 photos).
    "float16": Tolerance(mean=0.005, unpaired=0.02),
    "int8": Tolerance(mean=0.05, metric=0.02, unpaired=0.1),
}


@dataclasses.dataclass(frozen=True)
class Instances(Detections):
    """Detections with masks (N, H, W) bool: the pixels of the image that belong to each object."""

    masks: np.ndarray

    def summary(self) -> list[dict]:
        """As `Detections.summary`, with the share of its box that each object fills, and its mask as run lengths
        (`run_lengths`)."""
        areas = np.prod(self.pixel_boxes[:, 2:] - self.pixel_boxes[:, :2], axis=1)
        filled = self.masks.sum(axis=(1, 2)) / np.maximum(areas, 1e-9)
        found = zip(super().summary(), filled.tolist(), self.masks, strict=True)
        return [{**one, "filled": share, "mask": run_lengths(mask)} for one, share, mask in found]

    def draw(self, image: np.ndarray, alpha: float = 0.5) -> "PIL.Image.Image":
        """`image` (H, W, 3) uint8 with masks, boxes, labels and scores."""
        return drawing.boxes(drawing.masks(image, self.masks, alpha), self)


def classes(dataset: Dataset) -> tuple[str, ...]:
    return dataset.classes


def num_classes(outputs: Mapping[str, Any]) -> int | None:
    return None


def graph(network: "keras.Model", about: About) -> "keras.Model":
    from kerastransfer.codecs.faster_rcnn import FasterRcnnCodec
    from kerastransfer.models import mask_rcnn, yolo_mask

    found = about.decoder
    if isinstance(found.codec, FasterRcnnCodec):
        return mask_rcnn.instances(network, found, about.image_size)
    limits = {"max_detections": found.detections}
    return yolo_mask.instances(network, found.codec, found.masks, about.image_size, **limits)


def interpret(outputs: Outputs, about: About, size: tuple[int, int], limits: Thresholds) -> Instances:
    """The rows that the suppression inside the model has kept; a stricter `iou` than the model's is applied here."""
    boxes = np.clip(outputs["boxes"], 0, 1)
    rows = np.arange(len(boxes))
    found = np.flatnonzero((rows < outputs["count"]) & (outputs["scores"] >= limits.score))
    scores = np.full((len(found), len(about.labels)), -1.0, np.float32)
    if len(found) and outputs["labels"][found].max() >= len(about.labels):
        raise UserError(f"the model finds a class that its {len(about.labels)} labels do not name; export it again")
    scores[np.arange(len(found)), outputs["labels"][found].astype(int)] = outputs["scores"][found]
    chosen, labels = suppress(boxes[found], scores, limits.score, limits.iou, limits.detections)
    # The whole box, even beyond the edge of the image, because the grid of the mask covers it.
    whole = placement(tuple(size), about.image_size, about.resize).to_image(boxes[found[chosen]])
    inside, there = clipped(whole)
    chosen, labels = found[chosen][there], labels[there]
    return Instances(
        inside,
        outputs["scores"][chosen],
        labels,
        tuple(about.labels[label] for label in labels),
        tuple(size),
        paste(outputs["masks"][chosen], whole[there], size),
    )


def differences(expected: Sequence[Outputs], got: Sequence[Outputs], about: About) -> tuple[Differences, Counts | None]:
    """Differences between paired rows (`pairing`), and how many detections are missing or extra."""
    return pairing.differences(expected, got, about.thresholds.score)


def score(
    predict: Predict, dataset: Dataset, labels: Sequence[str], progress: Progress = iter, keep: bool = False
) -> Scored:
    """Average precision of boxes (AP, ...) and of masks (mask_AP, ...), both over the images with masks."""
    from kerastransfer.metrics import detection as metrics

    samples, number = matched(dataset, FIELD, classes(dataset), labels, -1)
    truths, found = [], []
    for sample in progress(samples):
        example = sample.read()
        one = predict(example["image"], score=LOWEST_SCORE)
        # Compressed image by image: all masks at full size would not fit into memory.
        truths.append({**truth_of(sample, example, number), "masks": metrics.compressed(example["masks"])})
        found.append({**found_in(sample.name, one), "masks": metrics.compressed(one.masks)})
    truth = metrics.coco_truth(truths, labels, iou_type="segm", category_ids=dataset.category_ids)
    boxes, masks = (metrics.coco_results(found, truth, iou_type=kind) for kind in ("bbox", "segm"))
    of_masks = metrics.evaluate_coco(truth, masks, labels, iou_type="segm")
    # Objects that nobody outlined count here, but not among the masks.
    of_boxes = metrics.evaluate_coco(metrics.coco_truth(truths, labels), boxes, labels)
    scores = of_boxes | {f"mask_{name}": value for name, value in of_masks.items()}
    return Scored(scores, truth=truth, results={"": masks, "_boxes": boxes} if keep else {})


def run_lengths(mask: np.ndarray) -> dict:
    """A mask (H, W) bool in COCO's uncompressed run lengths, {"size": [H, W], "counts"}: column by column, the number
    of pixels that are 0, then 1, then 0, and so on."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, mask.size]).tolist()}


def figures(models: Mapping[str, Shown], dataset: Dataset, test: Dataset) -> Iterator[tuple]:
    """For each model, a sheet of test images, each shown twice: with the ground truth and with the predictions."""
    return sheets(models, dataset, test, "instances", "Objects that {} outlines")

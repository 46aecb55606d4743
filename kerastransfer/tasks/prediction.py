"""Outputs of a model to what a person asked for: detections, objects with masks, or the class of every pixel."""

import dataclasses

import numpy as np
import PIL.Image

from kerastransfer.data.letterbox import Placement, placement
from kerastransfer.tasks.metadata import Metadata, Thresholds
from kerastransfer.tasks.paste import paste


@dataclasses.dataclass(frozen=True)
class Detections:
    """boxes (N, (y1, x1, y2, x2)) float32 fractions of the image, scores (N,) float32 falling, labels (N,) int32,
    names: of the labels, one for each box; image_size: (H, W) of the image in pixels."""

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
        """The detections as JSON takes them: label, score and box (y1, x1, y2, x2) in pixels."""
        found = zip(self.names, self.scores.tolist(), self.pixel_boxes.tolist(), strict=True)
        return [{"label": name, "score": score, "box": box} for name, score, box in found]


@dataclasses.dataclass(frozen=True)
class Instances(Detections):
    """Detections, and masks (N, H, W) bool: the pixels of the image that each object has."""

    masks: np.ndarray

    def summary(self) -> list[dict]:
        """As `Detections.summary`, with each object's share of its box and its mask in run lengths (`run_lengths`)."""
        areas = np.prod(self.pixel_boxes[:, 2:] - self.pixel_boxes[:, :2], axis=1)
        filled = self.masks.sum(axis=(1, 2)) / np.maximum(areas, 1e-9)
        found = zip(super().summary(), filled.tolist(), self.masks, strict=True)
        return [{**one, "filled": share, "mask": run_lengths(mask)} for one, share, mask in found]


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """segmentation (H, W) uint8: the class of every pixel of the image; probabilities (h, w, K) float32 at the model's
    own size (of a letterboxed picture the image's part); names: of the K classes."""

    segmentation: np.ndarray
    probabilities: np.ndarray
    names: tuple[str, ...]

    def summary(self) -> list[dict]:
        """The classes that occur, as JSON takes them: label and fraction of the image's pixels."""
        pixels = np.bincount(self.segmentation.ravel(), minlength=len(self.names))
        shares = zip(self.names, (pixels / pixels.sum()).tolist(), strict=True)
        return [{"label": name, "fraction": share} for name, share in shares if share > 0]


Prediction = Detections | Instances | Segmentation


def interpret(
    outputs: dict[str, np.ndarray], metadata: Metadata, image_size: tuple[int, int], thresholds: Thresholds
) -> Prediction:
    """The outputs of a model for one image of `image_size`, without the batch axis, as a prediction for that image.

    Boxes of a letterboxed picture are suppressed there, as inside a model, and then brought to the image and cut at its
    border; what lies beside the image is left out.
    """
    placed = placement(tuple(image_size), metadata.image_size, metadata.resize)
    if metadata.task == "segmentation":
        probabilities = placed.cut(outputs["segmentation"])
        return Segmentation(classes_at(probabilities, image_size), probabilities, metadata.labels)
    boxes = np.clip(outputs["boxes"], 0, 1)
    if metadata.task == "instances":
        return _instances(outputs, boxes, metadata, placed, image_size, thresholds)
    chosen, labels = suppress(boxes, outputs["scores"], thresholds.score, thresholds.iou, thresholds.detections)
    inside, there = _inside(placed.to_image(boxes[chosen]))
    chosen, labels = chosen[there], labels[there]
    names = tuple(metadata.labels[label] for label in labels)
    return Detections(inside, outputs["scores"][chosen, labels], labels, names, tuple(image_size))


def _instances(outputs, boxes, metadata, placed: Placement, image_size, thresholds) -> Instances:
    """The rows that suppression inside the model has left; a stricter `iou` than its own is applied here."""
    rows = np.arange(len(boxes))
    found = np.flatnonzero((rows < outputs["count"]) & (outputs["scores"] >= thresholds.score))
    scores = np.full((len(found), len(metadata.labels)), -1.0, np.float32)
    scores[np.arange(len(found)), outputs["labels"][found].astype(int)] = outputs["scores"][found]
    chosen, labels = suppress(boxes[found], scores, thresholds.score, thresholds.iou, thresholds.detections)
    whole = placed.to_image(boxes[found[chosen]])  # of the mask's grid, also where the image ends
    inside, there = _inside(whole)
    chosen, labels = found[chosen][there], labels[there]
    return Instances(
        inside,
        outputs["scores"][chosen],
        labels,
        tuple(metadata.labels[label] for label in labels),
        tuple(image_size),
        paste(outputs["masks"][chosen], whole[there], image_size),
    )


def _inside(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts of boxes (N, 4) in 0..1, of those (M, 4) of which this leaves a part, and which these are (N,) bool."""
    clipped = np.clip(boxes, 0, 1)
    there = ((clipped[:, 2:] > clipped[:, :2]) == (boxes[:, 2:] > boxes[:, :2])).all(axis=1)
    return clipped[there], there


def suppress(
    boxes: np.ndarray, scores: np.ndarray, score: float, iou: float, detections: int
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy non-maximum suppression for each class by itself.

    boxes (A, (y1, x1, y2, x2)) and scores (A, K) to the numbers of the boxes that stay (N,) and their labels (N,),
    int32, best first.
    """
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1)
    kept = []
    for label in range(scores.shape[1]):
        waiting = np.flatnonzero(scores[:, label] >= score)
        waiting = waiting[np.argsort(-scores[waiting, label], kind="stable")]
        for _ in range(detections):
            if not len(waiting):
                break
            best, waiting = waiting[0], waiting[1:]
            kept.append((best, label))
            corner = np.maximum(boxes[best, :2], boxes[waiting, :2])
            shared = np.prod(np.maximum(np.minimum(boxes[best, 2:], boxes[waiting, 2:]) - corner, 0), axis=-1)
            waiting = waiting[shared <= iou * (areas[best] + areas[waiting] - shared)]
    chosen, labels = np.array(kept, np.int32).reshape(-1, 2).T
    order = np.argsort(-scores[chosen, labels], kind="stable")[:detections]
    return chosen[order], labels[order]


def run_lengths(mask: np.ndarray) -> dict:
    """A mask (H, W) bool as COCO's tools read it: {"size": [H, W], "counts"}: how many pixels, column by column, are 0,
    then 1, then 0, and so on."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, mask.size]).tolist()}


def classes_at(probabilities: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """The likeliest class (H, W) uint8 of every pixel of the image, from probabilities (h, w, K) scaled bilinearly.

    One class at a time: a large photo with many classes would not fit into memory as probabilities.
    """
    best = np.full(image_size, -np.inf, np.float32)
    classes = np.zeros(image_size, np.uint8)
    for k in range(probabilities.shape[-1]):
        layer = PIL.Image.fromarray(np.ascontiguousarray(probabilities[..., k]))
        layer = np.asarray(layer.resize(image_size[::-1], PIL.Image.Resampling.BILINEAR))
        classes[layer > best] = k
        best = np.maximum(best, layer)
    return classes

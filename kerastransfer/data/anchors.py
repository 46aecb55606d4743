"""Anchors that fit a data set: k-means over the shapes of its boxes, with IoU as nearness.

YOLO9000 (Redmon and Farhadi 2017), section 2.
"""

import numpy as np

from kerastransfer.data.dataset import Dataset, taught
from kerastransfer.data.letterbox import placement
from kerastransfer.errors import UserError

# k-means of so many takes some 20 s; COCO has 860,000.
MOST_BOXES = 20_000


def fitted(
    dataset: Dataset, count: int, image_size: tuple[int, int], seed: int = 0, resize: str = "stretch"
) -> list[tuple[float, float]]:
    """`count` anchors (w, h) in pixels of images brought to image_size (H, W) by `resize` (`data.letterbox`), by rising
    area. No image is decoded; of more than MOST_BOXES boxes, so many are drawn by `seed`.

    Raises UserError when the data has no box.
    """

    def boxes_of(example):
        boxes = example["boxes"][taught(example)]
        if resize == "stretch":
            return boxes
        return placement(example["size"], image_size, resize).to_picture(boxes)

    found = [boxes_of(sample.annotations("boxes")) for sample in dataset.having("boxes").samples]
    boxes = np.concatenate([np.zeros((0, 4)), *found])
    sides = (boxes[:, 2:] - boxes[:, :2])[:, ::-1] * image_size[::-1]
    sides = sides[(sides > 0).all(axis=1)]
    if not len(sides):
        raise UserError(f"{dataset.name} has no object to fit anchors to: give images with boxes, or --anchors")
    if len(sides) > MOST_BOXES:
        sides = sides[np.random.default_rng(seed).choice(len(sides), MOST_BOXES, replace=False)]
    return [(float(w), float(h)) for w, h in k_means(sides, count, seed)]


def k_means(sides: np.ndarray, count: int, seed: int = 0, starts: int = 10) -> np.ndarray:
    """(N, (w, h)) to `count` centres (count, (w, h)) by rising area; distance is 1 - IoU of boxes on one centre.

    The best of several starts, each the shapes that k-means++ draws. With fewer different shapes than centres, some
    centres are the last one made larger.
    """
    random = np.random.default_rng(seed)
    found = [_moved(sides, _start(sides, count, random)) for _ in range(starts)]
    best = max(found, key=lambda centres: overlap(sides, centres).max(axis=1).mean())
    return best[np.argsort(best.prod(axis=1))]


def _start(sides, count, random):
    centres = sides[random.integers(len(sides))][None]
    while len(centres) < count:
        # The further a shape is from all centres, the more likely it is the next.
        weight = np.square(1 - overlap(sides, centres).max(axis=1))
        far = weight.sum() > 1e-9
        new = sides[random.choice(len(sides), p=weight / weight.sum())] if far else centres[-1] * 1.5
        centres = np.concatenate([centres, new[None]])
    return centres


def _moved(sides, centres, rounds=100):
    for _ in range(rounds):
        nearest = overlap(sides, centres).argmax(axis=1)
        members = [sides[nearest == k] for k in range(len(centres))]
        moved = np.array([own.mean(axis=0) if len(own) else old for own, old in zip(members, centres, strict=True)])
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres


def overlap(sides: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """IoU (N, K) of shapes (N, (w, h)) and (K, (w, h)) laid on one centre."""
    shared = np.minimum(sides[:, None], centres).prod(axis=-1)
    return shared / (sides.prod(axis=-1)[:, None] + centres.prod(axis=-1) - shared)

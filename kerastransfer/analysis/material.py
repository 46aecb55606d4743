"""What studies of two models read. The first model is the one under study, such as a detector's encoder; the second is
what it is compared with, such as a classifier's."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Detected:
    """What two detectors find in the same test images, and what is there.

    names: of the images. classes: (K,) names of the labels.
    truths: for each image boxes (N, (y1, x1, y2, x2)) in pixels, labels (N,), difficult (N,) bool; and where they are
        annotated crowd, truncated, occluded (N,) bool, and hidden (N,), the share of an object that others cover.
    found: {model: for each image boxes (M, 4) in pixels, scores (M,), labels (M,)}, in any order.
    """

    names: Sequence[str]
    classes: Sequence[str]
    truths: Sequence[Arrays]
    found: Mapping[str, Sequence[Arrays]]


@dataclasses.dataclass(frozen=True)
class Segmented:
    """What two segmenters make of the same test images.

    classes: (K,) names of the classes, background first. truth: `truth(i)` is the map (H, W) uint8 of image i, VOID
    where unknown. found: {model: a function from i to its map (H, W) uint8}. unknown: classes of the images that the
        models do not know, and that are VOID in `truth` as well.
    """

    names: Sequence[str]
    classes: Sequence[str]
    truth: Callable[[int], np.ndarray]
    found: Mapping[str, Callable[[int], np.ndarray]]
    unknown: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Classified:
    """What two classifiers make of the same test images: truth (N,), and {model: probabilities (N, K)}."""

    names: Sequence[str]
    classes: Sequence[str]
    truth: np.ndarray
    found: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Features:
    """What two encoders make of the same images; the arrays are memory-mapped files (`analysis.taps`).

    images: (N, S, S, 3) uint8.
    maps: {model: (N, h, w, D) float16}, the deepest tap of each.
    pooled: {model: (N, D) float32}, its mean over all positions.
    heads: {model: {"proj": (N, h, w, D), "fc1": (N, D), "fc2": (N, D)}} float16, of models that have such a head, in
        that order; of others {}.
    encoders: {model: a function from images (B, S, S, 3) in 0..255 to pooled features (B, D)}.
    labels: (N,) int32 in [0, K), or None where the images have none. classes: (K,) their names.
    train: (N,) bool, the images that a classifier may be fitted to; the others are tested on, and come last.
    boxes: for each image (M, (y1, x1, y2, x2)) fractions of the image, or None where no image has any.
    mean: (3,) the mean colour of all images, 0..255.
    known: so many of the first images may be such that the models have learnt from.
    """

    names: Sequence[str]
    images: np.ndarray
    maps: Mapping[str, np.ndarray]
    pooled: Mapping[str, np.ndarray]
    heads: Mapping[str, Arrays]
    encoders: Mapping[str, Callable[[np.ndarray], np.ndarray]]
    labels: np.ndarray | None
    classes: Sequence[str]
    train: np.ndarray
    boxes: Sequence[np.ndarray] | None
    mean: np.ndarray
    known: int = 0

    def last(self, first: int) -> "Features":
        """The images from `first` on; the arrays are views."""

        def cut(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: value[first:] for name, value in values.items()}

        return dataclasses.replace(
            self,
            names=self.names[first:],
            images=self.images[first:],
            maps=cut(self.maps),
            pooled=cut(self.pooled),
            heads={model: cut(heads) for model, heads in self.heads.items()},
            labels=None if self.labels is None else self.labels[first:],
            train=self.train[first:],
            boxes=None if self.boxes is None else self.boxes[first:],
            known=max(0, self.known - first),
        )

    @property
    def unseen(self) -> "Features":
        """The images that the models have not learnt from, for studies that fit nothing."""
        return self.last(self.known)


Material = Detected | Segmented | Classified | Features


def pair(values: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the two models, in order."""
    first, second = values
    return first, second

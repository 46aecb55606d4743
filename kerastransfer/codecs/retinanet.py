"""RetinaNet (Lin et al. 2017): boxes to the anchors of a feature pyramid and back."""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from kerastransfer.codecs import anchors, matching
from kerastransfer.codecs.pyramid import classes_of, grids, joined
from kerastransfer.ops.boxes import apply_deltas, deltas

# In strides.
SIZE = 4.0
SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)


@keras.saving.register_keras_serializable(package="kerastransfer")
@dataclasses.dataclass(frozen=True)
class AnchorCodec:
    """What the maps of a head mean whose every cell has a few anchors: LEVEL_classes (B, h, w, A * K) are logits, and
    LEVEL_boxes (B, h, w, A * 4) take an anchor to a box (`ops.boxes.deltas`), multiplied by `unit`.

    levels: (name, stride in pixels) of each map, from the finest.
    shapes: for each level the (height, width) of its anchors in pixels of the network's input.
    low, high: an anchor whose IoU with an object is at least `high` learns it; below `low` it learns background.
    best_of_each: an anchor that no other one surpasses in the IoU with some object learns it too.
    unit: of (dy, dx, dh, dw).
    """

    num_classes: int
    levels: tuple[tuple[str, int], ...]
    shapes: tuple[tuple[tuple[float, float], ...], ...]
    low: float = 0.4
    high: float = 0.5
    best_of_each: bool = True
    unit: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)

    def __post_init__(self) -> None:
        # As tuples, also where JSON gave lists.
        object.__setattr__(self, "levels", tuple((name, int(stride)) for name, stride in self.levels))
        shapes = tuple(tuple((float(h), float(w)) for h, w in own) for own in self.shapes)
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "unit", tuple(map(float, self.unit)))

    def get_config(self) -> dict:
        """The fields, as Keras stores them with a model."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "AnchorCodec":
        return cls(**config)

    def grids(self, predictions: Mapping) -> list[tuple]:
        """(rows, columns) of each level's maps."""
        return grids(self.levels, predictions)

    def anchors(self, grids: list[tuple]):
        """(A, (y1, x1, y2, x2)) as fractions of the image, not clipped: level by level, row by row, cell by cell."""
        strides = [stride for _, stride in self.levels]
        return anchors.anchors(grids, strides, self.shapes) / self._size(grids)

    def unpack(self, predictions: Mapping) -> tuple:
        """Raw maps to deltas (B, A, 4) and logits (B, A, K), in the order of `anchors`."""
        logits = joined(self.levels, predictions, "classes", self.num_classes)
        return joined(self.levels, predictions, "boxes", 4), logits

    def class_places(self, layer: str, count: int) -> np.ndarray:
        """(A, C): which of the `count` outputs of the head's last layer of this name are the classes of its anchors."""
        return classes_of(layer, count, self.num_classes)

    def corners(self, deltas, anchors):
        """Deltas (B, A, 4) to boxes (B, A, (y1, x1, y2, x2)) as fractions of the image, not clipped."""
        return apply_deltas(deltas / np.array(self.unit, "float32"), anchors)

    def deltas(self, boxes, anchors):
        """The inverse of `corners`, for boxes with area."""
        return deltas(boxes, anchors) * np.array(self.unit, "float32")

    def encode(self, boxes, labels, grids: list[tuple]) -> dict:
        """boxes (B, N, 4), labels (B, N) to {"state": (B, A) int32 1 where an anchor learns an object, 0 background, -1
        ignored, "boxes": (B, A, 4) and "labels": (B, A) of that object}. Padding (label < 0) counts nothing."""
        state, boxes, labels = matching.by_overlap(
            boxes, labels, self.anchors(grids), low=self.low, high=self.high, best_of_each=self.best_of_each
        )
        return {"state": state, "boxes": boxes, "labels": labels}

    def decode(self, predictions: Mapping):
        """Raw maps to boxes (B, A, (y1, x1, y2, x2)) clipped to the image, and scores (B, A, K)."""
        found, logits = self.unpack(predictions)
        boxes = self.corners(found, self.anchors(self.grids(predictions)))
        return ops.clip(boxes, 0.0, 1.0), ops.sigmoid(logits)

    def _size(self, grids):
        """(h, w, h, w) of the network's input in pixels, float32. Coarser maps may reach beyond it."""
        (rows, columns), (_, stride) = grids[0], self.levels[0]
        return ops.cast(ops.stack([rows * stride, columns * stride] * 2), "float32")


def retinanet_codec(
    num_classes: int, levels: tuple[tuple[str, int], ...], *, size: float = SIZE, scales=SCALES, ratios=RATIOS
) -> AnchorCodec:
    """The anchors of RetinaNet: for each level `size` strides large, times each of `scales`, in each of the `ratios` of
    height to width, rounded as in Detectron."""
    shapes = tuple(tuple(anchors.rounded_shapes(stride, size, scales, ratios)) for _, stride in levels)
    return AnchorCodec(num_classes, levels, shapes)

"""FCOS (Tian et al. 2019): boxes to the places of a feature pyramid and back, without anchors."""

import dataclasses
import math
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from kerastransfer.codecs.pyramid import classes_of, grids, joined
from kerastransfer.ops.boxes import area
from kerastransfer.ops.truths import fold, packed

# The largest distance from a place to a side of its object, in pixels, on all levels but the last.
LIMITS = (64.0, 128.0, 256.0, 512.0)


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the A places of all levels are: at (A, (y, x)) and stride (A, 1), in pixels of the network's input; limits
    (A, 2), the least and the largest distance that each learns; size ((h, w),) of that input. All float32."""

    at: object
    stride: object
    limits: object
    size: object


@keras.saving.register_keras_serializable(package="kerastransfer")
@dataclasses.dataclass(frozen=True)
class FcosCodec:
    """What the maps mean at each place: LEVEL_classes (B, h, w, K) and LEVEL_centerness (B, h, w, 1) are logits, and
    LEVEL_boxes (B, h, w, 4) stand for the distances to the object's top, left, bottom and right.

    levels: (name, stride in pixels) of each map, from the finest.
    limits: for all levels but the last, the largest of the four distances that is learnt there, in pixels.
    radius: 0: all places in a box learn it. Above: those that are at most so many strides away from its centre as well,
        along both axes.
    distances: "exp", the exponential of the map in pixels; or "strides", the map in strides, and 0 where it is below.
    """

    num_classes: int
    levels: tuple[tuple[str, int], ...]
    limits: tuple[float, ...] = LIMITS
    radius: float = 0.0
    distances: str = "exp"

    def __post_init__(self) -> None:
        # As tuples, also where JSON gave lists.
        object.__setattr__(self, "levels", tuple((name, int(stride)) for name, stride in self.levels))
        object.__setattr__(self, "limits", tuple(map(float, self.limits)))
        if len(self.limits) != len(self.levels) - 1:
            raise ValueError(f"{len(self.limits)} limits for {len(self.levels)} levels; give one less than levels")
        if self.distances not in ("exp", "strides"):
            raise ValueError(f"distances {self.distances!r}: give 'exp' or 'strides'")

    def get_config(self) -> dict:
        """The fields, as Keras stores them with a model."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "FcosCodec":
        return cls(**config)

    def grids(self, predictions: Mapping) -> list[tuple]:
        """(rows, columns) of each level's maps."""
        return grids(self.levels, predictions)

    def places(self, grids: list[tuple]) -> Places:
        """The middles of the cells: level by level, row by row, cell by cell."""
        at, strides, limits = [], [], []
        ends = (-1.0, *self.limits, math.inf)
        for number, ((rows, columns), (_, stride)) in enumerate(zip(grids, self.levels, strict=True)):
            y, x = ops.meshgrid(ops.arange(rows), ops.arange(columns), indexing="ij")
            cells = ops.cast(ops.reshape(ops.stack([y, x], axis=-1), (-1, 2)), "float32")
            at.append(cells * stride + stride // 2)
            strides.append(ops.zeros_like(cells[:, :1]) + stride)
            limits.append(ops.zeros_like(cells) + np.array(ends[number : number + 2], "float32"))
        (rows, columns), (_, stride) = grids[0], self.levels[0]
        size = ops.cast(ops.stack([rows * stride, columns * stride]), "float32")
        return Places(*(ops.concatenate(parts) for parts in (at, strides, limits)), size)

    def unpack(self, predictions: Mapping) -> tuple:
        """Raw maps to what stands for the distances (B, A, 4), logits of the classes (B, A, K) and of centerness (B,
        A), in the order of `places`."""
        logits = joined(self.levels, predictions, "classes", self.num_classes)
        boxes, centerness = (joined(self.levels, predictions, *kind) for kind in (("boxes", 4), ("centerness", 1)))
        return boxes, logits, centerness[..., 0]

    def class_places(self, layer: str, count: int) -> np.ndarray:
        """(1, C): which of the `count` outputs of the head's last layer of this name are the classes."""
        return classes_of(layer, count, self.num_classes)

    def corners(self, raw, places: Places):
        """The maps' numbers (B, A, 4) to boxes (B, A, (y1, x1, y2, x2)) as fractions of the image, not clipped."""
        if self.distances == "exp":
            # No object is larger than 2 ** 14 pixels: the bound keeps an untrained network finite.
            distances = ops.exp(ops.minimum(raw, 14 * math.log(2)))
        else:
            distances = ops.relu(raw) * places.stride
        near, far = places.at - distances[..., :2], places.at + distances[..., 2:]
        return ops.concatenate([near / places.size, far / places.size], axis=-1)

    def encode(self, boxes, labels, grids: list[tuple]) -> dict:
        """boxes (B, N, 4), labels (B, N) to {"state": (B, A) int32 1 where a place learns an object, else 0, "boxes":
        (B, A, 4) and "labels": (B, A) of that object, "centerness": (B, A), its target}.

        Of several objects at one place the smallest is learnt. Padding (label < 0) counts nothing.
        """
        places = self.places(grids)
        boxes, labels = packed(ops.cast(boxes, "float32"), labels)
        batch, number = ops.shape(labels)[0], ops.shape(places.at)[0]
        size = ops.concatenate([places.size, places.size])

        def learn(found, boxes, labels, first):
            smallest, owner = found
            pixels = ops.expand_dims(boxes * size, 2)
            near, far = places.at - pixels[..., :2], pixels[..., 2:] - places.at
            distances = ops.concatenate([near, far], axis=-1)
            inside = ops.min(distances, axis=-1) > 0
            if self.radius:
                middles = (pixels[..., :2] + pixels[..., 2:]) / 2
                away = ops.max(ops.abs(places.at - middles), axis=-1)
                inside = ops.logical_and(inside, away < self.radius * places.stride[:, 0])
            largest = ops.max(distances, axis=-1)
            fits = ops.logical_and(largest >= places.limits[:, 0], largest <= places.limits[:, 1])
            may = ops.logical_and(ops.logical_and(inside, fits), ops.expand_dims(labels >= 0, 2))
            areas = ops.where(may, area(pixels), math.inf)
            here = ops.min(areas, axis=1)
            there = ops.cast(ops.argmin(areas, axis=1), "int32") + first
            return ops.minimum(here, smallest), ops.where(here < smallest, there, owner)

        start = ops.full((batch, number), math.inf), ops.zeros((batch, number), dtype="int32")
        smallest, owner = fold(learn, start, boxes, labels)
        state = ops.cast(ops.isfinite(smallest), "int32")
        own = ops.take_along_axis(boxes, ops.expand_dims(owner, -1), axis=1)
        distances = ops.concatenate(
            [places.at - own[..., :2] * places.size, own[..., 2:] * places.size - places.at], -1
        )
        return {
            "state": state,
            "boxes": own,
            "labels": ops.take_along_axis(labels, owner, axis=1),
            "centerness": ops.where(ops.equal(state, 1), centerness(distances), 0.0),
        }

    def decode(self, predictions: Mapping):
        """Raw maps to boxes (B, A, (y1, x1, y2, x2)) clipped to the image, and scores (B, A, K): the square root of
        class * centerness."""
        raw, logits, middle = self.unpack(predictions)
        boxes = self.corners(raw, self.places(self.grids(predictions)))
        scores = ops.sqrt(ops.sigmoid(logits) * ops.sigmoid(ops.expand_dims(middle, -1)))
        return ops.clip(boxes, 0.0, 1.0), scores


def centerness(distances):
    """(..., (top, left, bottom, right)) to (...): 1 in the middle of a box, 0 at its border (Tian et al. 2019, equation
    3)."""
    distances = ops.maximum(distances, 0.0)
    near, far = distances[..., :2], distances[..., 2:]
    shares = ops.minimum(near, far) / ops.maximum(ops.maximum(near, far), 1e-9)
    return ops.sqrt(shares[..., 0] * shares[..., 1])

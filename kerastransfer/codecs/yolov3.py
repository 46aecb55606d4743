"""YOLOv3 (Redmon and Farhadi 2018): boxes to the anchors of several grids and back."""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from kerastransfer.ops.boxes import from_xywh, to_xywh
from kerastransfer.ops.truths import fold, packed


@dataclasses.dataclass(frozen=True)
class Priors:
    """Where each of the A candidates of all levels stands, float32: near (A, (x, y)) corner of its cell, stride (A, 1),
    anchor (A, (w, h)), all in pixels of the network's input; sway (A, 1) in cells; size ((w, h),) of that input."""

    near: object
    stride: object
    anchor: object
    sway: object
    size: object


@keras.saving.register_keras_serializable(package="kerastransfer")
@dataclasses.dataclass(frozen=True)
class YoloV3Codec:
    """What the numbers of the maps mean: for each cell and anchor [tx, ty, tw, th, objectness, class 0 .. C - 1].

    anchors: (w, h) in pixels of the network's input, whatever its size. levels: (name of the map, its stride in pixels,
        the numbers of its anchors), in the order in which candidates are listed.
    ratio: 0: an object is learnt by the anchor alone whose shape is nearest, by IoU (Darknet). Above 1: by every anchor
        whose width and height both differ from its own by less than this factor, and by the nearest.
    reach: 0: in the cell of its centre alone (Darknet). Above, at most 1: in every cell too whose border the centre is
        within `reach` cells of.
    sway: 1: a centre stays in its cell (Darknet). Above: offsets are sway * sigmoid - (sway - 1) / 2, so that a cell
        can point to the centres that `reach` gives it; 1 + 2 * reach suffices. One number, or one for each level
        (scale_x_y in YOLOv4's cfg; Bochkovskiy et al. 2020, section 4.2, "eliminate grid sensitivity").
    """

    num_classes: int
    anchors: tuple[tuple[float, float], ...]
    levels: tuple[tuple[str, int, tuple[int, ...]], ...]
    ratio: float = 0.0
    reach: float = 0.0
    sway: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        # As tuples, also where JSON gave lists.
        object.__setattr__(self, "anchors", tuple((float(w), float(h)) for w, h in self.anchors))
        levels = tuple((name, int(stride), tuple(map(int, mask))) for name, stride, mask in self.levels)
        object.__setattr__(self, "levels", levels)
        if isinstance(self.sway, list | tuple):
            object.__setattr__(self, "sway", tuple(map(float, self.sway)))
            if len(self.sway) != len(levels):
                raise ValueError(f"sway {self.sway}: give one number, or one for each of the {len(levels)} levels")
            if len(set(self.sway)) == 1:
                object.__setattr__(self, "sway", self.sway[0])
        if not 0 <= self.reach <= 1:
            raise ValueError(f"reach {self.reach}: give 0 to 1 cells")

    def get_config(self) -> dict:
        """The fields, as Keras stores them with a model."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "YoloV3Codec":
        return cls(**config)

    def grids(self, predictions: Mapping) -> list[tuple]:
        """(rows, columns) of each level's map."""
        maps = [predictions[name] for name, _, _ in self.levels]
        return [tuple(one.shape[1:3]) if None not in one.shape[1:3] else tuple(ops.shape(one)[1:3]) for one in maps]

    def priors(self, grids: list[tuple]) -> Priors:
        """The candidates' places: level by level, row by row, cell by cell, anchor by anchor."""
        near, strides, anchors, sways = [], [], [], []
        each = self.sway if isinstance(self.sway, tuple) else (self.sway,) * len(self.levels)
        for (rows, columns), (_, stride, mask), sway in zip(grids, self.levels, each, strict=True):
            y, x = ops.meshgrid(ops.arange(rows), ops.arange(columns), indexing="ij")
            cells = ops.reshape(ops.cast(ops.stack([x, y], axis=-1), "float32"), (-1, 1, 2)) * stride
            shapes = ops.reshape(ops.convert_to_tensor([self.anchors[a] for a in mask], "float32"), (1, -1, 2))
            near.append(ops.reshape(cells + ops.zeros_like(shapes), (-1, 2)))
            anchors.append(ops.reshape(shapes + ops.zeros_like(cells), (-1, 2)))
            strides.append(ops.ones_like(near[-1][:, :1]) * stride)
            sways.append(ops.ones_like(near[-1][:, :1]) * sway)
        return Priors(*(ops.concatenate(parts) for parts in (near, strides, anchors, sways)), self._size(grids))

    def unpack(self, predictions: Mapping) -> tuple:
        """Raw maps {level: (B, h, w, A_level * (5 + C))} to (tx, ty, tw, th) (B, A, 4), logits of objectness (B, A) and
        of classes (B, A, C), in the order of `priors`."""
        numbers = 5 + self.num_classes
        rows = [
            ops.reshape(predictions[name], (ops.shape(predictions[name])[0], -1, numbers)) for name, _, _ in self.levels
        ]
        raw = ops.cast(ops.concatenate(rows, axis=1), "float32")
        return raw[..., :4], raw[..., 4], raw[..., 5:]

    def class_places(self, layer: str, count: int) -> np.ndarray:
        """(A, C): which of the `count` channels of a map are the classes of its A anchors."""
        return np.arange(count).reshape(-1, 5 + self.num_classes)[:, 5:]

    def corners(self, parameters, priors: Priors):
        """(tx, ty, tw, th) (B, A, 4) to boxes (B, A, (y1, x1, y2, x2)) as fractions of the image, not clipped."""
        offsets = priors.sway * ops.sigmoid(parameters[..., :2]) - (priors.sway - 1) / 2
        xy = (priors.near + offsets * priors.stride) / priors.size
        # 2 ** 10 anchors are larger than any image: the bound keeps an untrained network finite.
        wh = ops.exp(ops.minimum(parameters[..., 2:], 7.0)) * priors.anchor / priors.size
        return from_xywh(ops.concatenate([xy, wh], axis=-1))

    def parameters(self, boxes, priors: Priors):
        """The inverse of `corners`, but the sigmoid of x and y: boxes (B, A, 4) with area to (x, y in [0, 1], tw, th);
        for a candidate whose cell is too far from the box, x and y end at 0 or 1."""
        xywh = to_xywh(boxes)
        xy, wh = xywh[..., :2] * priors.size, xywh[..., 2:] * priors.size
        offsets = ((xy - priors.near) / priors.stride + (priors.sway - 1) / 2) / priors.sway
        sizes = ops.log(ops.maximum(wh, 1e-3) / priors.anchor)
        return ops.concatenate([ops.clip(offsets, 0.0, 1.0), sizes], axis=-1)

    def encode(self, boxes, labels, grids: list[tuple]) -> dict:
        """boxes (B, N, 4), labels (B, N) to {"state": (B, A) 1 where a candidate learns an object, else 0, "boxes":
        (B, A, 4) of that object, "classes": (B, A, C) of 0 and 1}.

        Of several objects at one candidate the later is learnt, and before all one whose centre is in that cell; the
        classes of all those in the cell are kept, as Darknet does. Padding (label < 0) counts nothing.
        """
        boxes, labels = packed(ops.cast(boxes, "float32"), labels)
        batch, count = ops.shape(labels)
        candidates = sum(
            rows * columns * len(mask) for (rows, columns), (_, _, mask) in zip(grids, self.levels, strict=True)
        )

        def learn(found, boxes, labels, first):
            best, classes = found
            order, kinds = self._learnt(boxes, labels, first, count, grids)
            return ops.maximum(best, order), ops.maximum(classes, kinds)

        start = ops.full((batch, candidates), -1.0), ops.zeros((batch, candidates, self.num_classes))
        best, classes = fold(learn, start, boxes, labels)
        state = ops.cast(best >= 0, "float32")
        owner = ops.cast(ops.maximum(best, 0), "int32") % count
        learnt = ops.expand_dims(state, -1)
        own = ops.one_hot(ops.maximum(ops.take_along_axis(labels, owner, axis=1), 0), self.num_classes)
        return {
            "state": state,
            "boxes": ops.take_along_axis(boxes, ops.expand_dims(owner, -1), axis=1) * learnt,
            "classes": ops.maximum(classes, own) * learnt,
        }

    def _learnt(self, boxes, labels, first, count, grids: list[tuple]):
        """What the candidates learn of the objects `first`, `first` + 1, ... of `count`: the largest order (B, A) of
        those that each may learn, -1 where there is none, and the classes (B, A, C) of those in its cell. The order is
        the object's number, and `count` more where the candidate's cell is the one of the object's centre."""
        xywh, size = to_xywh(boxes), self._size(grids)
        xy, wh = xywh[..., :2] * size, xywh[..., 2:] * size
        # The shape is (B, N, anchors).
        fits = ops.logical_and(self._fitting(wh), ops.expand_dims(labels >= 0, -1))
        kinds = ops.one_hot(ops.maximum(labels, 0), self.num_classes)
        batch, number = ops.shape(labels)
        orders, classes = [], []
        for (rows, columns), (_, stride, mask) in zip(grids, self.levels, strict=True):
            # Both have the shape (B, N, O); `near` is bool.
            cell, near = self._cells(xy / stride, (rows, columns))
            own = ops.expand_dims(ops.stack([fits[..., a] for a in mask], -1), 2)
            # The shape is (B, N, O, anchors of the level).
            may = ops.logical_and(ops.expand_dims(near, -1), own)
            candidates = rows * columns * len(mask)
            place = ops.expand_dims(cell, -1) * len(mask) + ops.arange(len(mask))
            place = place + ops.reshape(ops.arange(batch), (-1, 1, 1, 1)) * candidates
            # What is not learnt goes to a last place, which is cut off again.
            place = ops.reshape(ops.where(may, place, batch * candidates), (-1,))
            home = ops.reshape(ops.arange(near.shape[-1]) == 0, (1, 1, -1, 1))
            order = ops.reshape(first + ops.arange(number), (1, -1, 1, 1)) + ops.where(home, count, 0)
            order = ops.cast(ops.broadcast_to(order, ops.shape(may)), "float32")
            kind = ops.reshape(kinds, (batch, number, 1, 1, self.num_classes))
            kind = ops.broadcast_to(
                kind * ops.cast(ops.expand_dims(home, -1), "float32"), (*ops.shape(may), self.num_classes)
            )

            def largest(values, place=place, total=batch * candidates, candidates=candidates):
                found = ops.segment_max(values, place, total + 1)[:-1]
                return ops.reshape(found, (batch, candidates, *values.shape[1:]))

            orders.append(largest(ops.reshape(order, (-1,))))
            classes.append(largest(ops.reshape(kind, (-1, self.num_classes))))
        return ops.concatenate(orders, 1), ops.concatenate(classes, 1)

    def decode(self, predictions: Mapping):
        """Raw maps to boxes (B, A, (y1, x1, y2, x2)) clipped to the image, and scores (B, A, C): objectness * class."""
        parameters, objectness, classes = self.unpack(predictions)
        boxes = self.corners(parameters, self.priors(self.grids(predictions)))
        scores = ops.expand_dims(ops.sigmoid(objectness), -1) * ops.sigmoid(classes)
        return ops.clip(boxes, 0.0, 1.0), scores

    def levels_of(self, boxes, size: tuple[int, int]):
        """boxes (B, N, 4), the input's (H, W) to (B, N) int32: the number of the level that learns each, which is that
        of the anchor of the nearest shape (0 where no level has it)."""
        sides = to_xywh(ops.cast(boxes, "float32"))[..., 2:] * ops.cast(ops.stack([size[1], size[0]]), "float32")
        owner = [next((n for n, level in enumerate(self.levels) if a in level[2]), 0) for a in range(len(self.anchors))]
        return ops.take(np.array(owner, "int32"), ops.argmax(self._overlap(sides), axis=-1))

    def levels_of_candidates(self, numbers, grids: list[tuple]):
        """The number of the level (B, M) int32 of which each candidate (B, M), counted as in `priors`, is one."""
        level, first = ops.zeros_like(numbers), 0
        for (rows, columns), (_, _, mask) in zip(grids[:-1], self.levels[:-1], strict=True):
            first = first + rows * columns * len(mask)
            level = level + ops.cast(numbers >= first, level.dtype)
        return level

    def _size(self, grids):
        """((w, h),) of the network's input in pixels, float32."""
        (rows, columns), (_, stride, _) = grids[0], self.levels[0]
        return ops.cast(ops.stack([columns * stride, rows * stride]), "float32")

    def _fitting(self, wh):
        """wh (B, N, 2) in pixels to (B, N, anchors): which anchors learn a box of this shape."""
        anchors = np.array(self.anchors, "float32")
        nearest = ops.cast(ops.argmax(self._overlap(wh), axis=-1), "int32")
        fits = ops.equal(ops.expand_dims(nearest, -1), ops.arange(len(anchors), dtype="int32"))
        if self.ratio:
            factor = ops.maximum(ops.expand_dims(wh, 2), 1e-3) / anchors
            worst = ops.max(ops.maximum(factor, 1 / factor), axis=-1)
            fits = ops.logical_or(fits, worst < self.ratio)
        return fits

    def _overlap(self, wh):
        """wh (B, N, 2) in pixels to (B, N, anchors): IoU with each anchor, centres aside."""
        anchors = np.array(self.anchors, "float32")
        shared = ops.prod(ops.minimum(ops.expand_dims(wh, 2), anchors), axis=-1)
        return shared / (ops.prod(ops.expand_dims(wh, 2), axis=-1) + anchors.prod(-1) - shared)

    def _cells(self, xy, grid):
        """xy (B, N, 2) in cells: the numbers (B, N, O) of the cells around each, its own first, and which learn it."""
        rows, columns = grid
        size = ops.cast(ops.stack([columns, rows]), "float32")
        own = ops.clip(ops.floor(xy), 0.0, size - 1)
        steps = [(0, 0)]
        if self.reach:
            steps += [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y]
        around = ops.expand_dims(own, 2) + np.array(steps, "float32")
        # The distance to the nearest border, in cells.
        away = ops.max(ops.abs(ops.expand_dims(xy, 2) - around - 0.5), axis=-1) - 0.5
        inside = ops.all(ops.logical_and(around >= 0, around < size), axis=-1)
        first = np.arange(len(steps)) == 0
        near = ops.logical_and(inside, ops.logical_or(away <= self.reach, first))
        return ops.cast(around[..., 1] * ops.cast(columns, "float32") + around[..., 0], "int32"), near

"""YOLOv1 (Redmon et al. 2016, section 2): boxes to the cells of a grid and back."""

import dataclasses
from typing import Literal

import keras
import numpy as np
from keras import ops

from kerastransfer.ops.boxes import from_xywh, to_xywh


@keras.saving.register_keras_serializable(package="kerastransfer")
@dataclasses.dataclass(frozen=True)
class YoloV1Codec:
    """What the C + 5 B numbers of a cell mean.

    sizes: unit of the predicted width and height: "cell" (ElSedfy's code), "image" (YOLOv1), or "root" (Darknet: the
        network gives the square root of the fraction of the image, and decoding squares it).
    layout: "cells": predictions (B, S, S, C + 5 B), a cell's row is [C classes][conf x y w h] * B; "darknet": a flat
        vector (B, S * S * (C + 5 B)) of all classes, all confidences, all boxes.
    score: "confidence" (ElSedfy 2025: the more confident box of each cell alone, its class the strongest) or "product"
        (Darknet: every box, confidence * class score).
    reach: 0: the cell in which an object's centre lies owns it, and no other (YOLOv1). Above: a cell whose border the
        centre is within `reach` cells of owns it too, where it owns nothing better (ours; the offsets x, y then leave
        [0, 1]). More cells learn from each object, which a small data set needs.
    """

    num_classes: int
    boxes_per_cell: int = 2
    sizes: Literal["cell", "image", "root"] = "cell"
    layout: Literal["cells", "darknet"] = "cells"
    score: Literal["confidence", "product"] = "confidence"
    reach: float = 0.0

    def get_config(self) -> dict:
        """The fields, as Keras stores them with a model."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "YoloV1Codec":
        return cls(**config)

    @property
    def outputs(self) -> int:
        """Channels of a head: C + 5 B."""
        return self.num_classes + 5 * self.boxes_per_cell

    def class_places(self, layer: str, count: int) -> np.ndarray:
        """(N, C): which of `count` predictions, those of N cells (or the channels of a convolution, N = 1), are
        classes."""
        numbers = np.arange(count)
        if self.layout == "darknet":
            return numbers[: count // self.outputs * self.num_classes].reshape(-1, self.num_classes)
        return numbers.reshape(-1, self.outputs)[:, : self.num_classes]

    def unpack(self, predictions):
        """Raw predictions to classes (B, S, S, C), confidences (B, S, S, B), boxes (B, S, S, B, (x, y, w, h)).

        x, y are offsets inside the cell in [0, 1]; w, h are in the unit of `sizes`.
        """
        c, b = self.num_classes, self.boxes_per_cell
        if self.layout == "darknet":
            cells = predictions.shape[-1] // self.outputs
            side = round(cells**0.5)
            classes = ops.reshape(predictions[:, : cells * c], (-1, side, side, c))
            confidences = ops.reshape(predictions[:, cells * c : cells * (c + b)], (-1, side, side, b))
            boxes = ops.reshape(predictions[:, cells * (c + b) :], (-1, side, side, b, 4))
            return classes, confidences, boxes
        shape = ops.shape(predictions)
        boxes = ops.reshape(predictions[..., c:], (*shape[:3], b, 5))
        return predictions[..., :c], boxes[..., 0], boxes[..., 1:]

    def encode(self, boxes, labels, grid: tuple[int, int]) -> dict:
        """boxes (B, N, 4), labels (B, N) to {"state": (B, S, S) 1 where an object's centre lies, else 0,
        "boxes": (B, S, S, (x, y, w, h)), "classes": (B, S, S, C) one-hot}; grid = (rows, columns).

        The centre's cell owns an object; of several in one cell the first wins. A cell within `reach` that owns none
        of its own takes the object whose centre is nearest. Padding (label < 0) is owned by none.
        """
        rows, columns = grid
        size = ops.cast(ops.stack([columns, rows]), "float32")
        xywh = to_xywh(ops.cast(boxes, "float32"))
        xy, wh = xywh[..., :2] * size, xywh[..., 2:]
        if self.sizes == "cell":
            wh = wh * size
        elif self.sizes == "root":
            wh = ops.sqrt(ops.maximum(wh, 0))

        # The near corner of each cell; the shape is (S * S, (x, y)).
        cells = _cells(rows, columns)
        # The shape is (B, N, 1, (x, y)).
        home = ops.expand_dims(ops.clip(ops.floor(xy), 0, size - 1), 2)
        # The distance to each cell in cells; the shape is (B, N, S * S).
        outside = ops.max(ops.abs(ops.expand_dims(xy, 2) - cells - 0.5), axis=-1) - 0.5
        order = ops.reshape(ops.arange(1, boxes.shape[1] + 1, dtype="float32"), (1, -1, 1))
        at_home = ops.all(ops.equal(cells, home), axis=-1)
        # Home comes before neighbours: ranks below 0, the first of several lowest.
        rank = ops.where(at_home, -1 / order, ops.maximum(outside, 0))
        may = ops.logical_or(at_home, outside <= self.reach) if self.reach else at_home
        may = ops.logical_and(may, ops.expand_dims(labels >= 0, -1))
        rank = ops.where(may, rank, np.inf)
        # The shape is (B, S * S, 1).
        owner = ops.expand_dims(ops.argmin(rank, axis=1), -1)
        owned = ops.expand_dims(ops.cast(ops.any(may, axis=1), "float32"), -1)

        def on_grid(values):
            values = ops.take_along_axis(values, owner, axis=1) * owned
            return ops.reshape(values, (-1, rows, columns, values.shape[-1]))

        state = ops.reshape(owned, (-1, rows, columns))
        near = ops.expand_dims(state, -1) * ops.reshape(cells, (rows, columns, 2))
        offsets = on_grid(xy) - near
        classes = ops.one_hot(ops.maximum(labels, 0), self.num_classes)
        return {
            "state": state,
            "boxes": ops.concatenate([offsets, on_grid(wh)], axis=-1),
            "classes": on_grid(classes),
        }

    def corners(self, boxes):
        """boxes (B, S, S, B, (x, y, w, h)) of `unpack` to (B, S, S, B, (y1, x1, y2, x2)) as fractions of the image."""
        rows, columns = boxes.shape[1], boxes.shape[2]
        if rows is None or columns is None:
            _, rows, columns, *_ = ops.shape(boxes)
        size = ops.cast(ops.stack([columns, rows]), "float32")
        cell = ops.reshape(_cells(rows, columns), (rows, columns, 1, 2))
        xy, wh = (boxes[..., :2] + cell) / size, boxes[..., 2:]
        if self.sizes == "cell":
            wh = wh / size
        elif self.sizes == "root":
            wh = ops.square(wh)
        return from_xywh(ops.concatenate([xy, ops.maximum(wh, 0)], axis=-1))

    def decode_dense(self, predictions, output_stride: int, stride: int, image_size: tuple[int, int]):
        """Raw predictions at every `output_stride`-th pixel (B, h, w, C + 5 B) to boxes (B, A, (y1, x1, y2, x2)) in
        pixels, not clipped, and scores (B, A, C), as `decode` orders them.

        stride: pixels from cell to cell where the network was trained; image_size: (H, W) there. A location stands for
        the cell whose near corner it is, and a cell of a shifted image predicts what it would in its own place.
        """
        classes, confidences, boxes = self.unpack(predictions)
        rows, columns = (ops.shape(predictions)[axis] for axis in (1, 2))
        near = ops.reshape(_cells(rows, columns), (rows, columns, 1, 2)) * output_stride
        trained = ops.convert_to_tensor(image_size[::-1], "float32")
        xy, wh = boxes[..., :2] * stride + near, boxes[..., 2:]
        if self.sizes == "root":
            wh = ops.square(wh)
        wh = ops.maximum(wh, 0) * (stride if self.sizes == "cell" else trained)
        return self._candidates(classes, confidences, from_xywh(ops.concatenate([xy, wh], axis=-1)))

    def decode(self, predictions):
        """Raw predictions to boxes (B, A, (y1, x1, y2, x2)) clipped to the image, and scores (B, A, C).

        A = S * S with score "confidence", else S * S * B. Scores are as the network gives them, not bounded to [0, 1].
        """
        classes, confidences, boxes = self.unpack(predictions)
        return self._candidates(classes, confidences, ops.clip(self.corners(boxes), 0, 1))

    def _candidates(self, classes, confidences, corners):
        """Boxes (B, A, 4) and their scores (B, A, C) by the rule of `score`."""
        if self.score == "product":
            scores = ops.expand_dims(confidences, -1) * ops.expand_dims(classes, -2)
        else:
            best = _first_largest(confidences)
            # Not a matrix product, which may round.
            corners = ops.sum(ops.expand_dims(best, -1) * corners, axis=-2)
            strongest = _first_largest(classes)
            scores = strongest * ops.max(confidences, axis=-1, keepdims=True)
        batch = ops.shape(confidences)[0]
        return ops.reshape(corners, (batch, -1, 4)), ops.reshape(scores, (batch, -1, self.num_classes))


def _first_largest(x):
    """1 at the first largest entry of the last axis, else 0. Keras's argmax would bring in what LiteRT lacks."""
    largest = ops.cast(ops.equal(x, ops.max(x, axis=-1, keepdims=True)), "float32")
    return largest * ops.cast(ops.cumsum(largest, axis=-1) <= 1, "float32")


def _cells(rows, columns):
    """(rows * columns, (x, y)): the near corners of the cells, in cells."""
    y, x = ops.meshgrid(ops.arange(rows), ops.arange(columns), indexing="ij")
    return ops.reshape(ops.cast(ops.stack([x, y], axis=-1), "float32"), (-1, 2))

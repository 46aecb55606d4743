"""Layers around a codec, which decode raw predictions or encode annotations inside a graph."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import keras
from keras import ops

from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.ops.fpn import fpn_level
from kerastransfer.ops.voting import paint

Rule = Literal["scale", "fpn"]


class CodecLayer(keras.layers.Layer):
    """A layer that computes in float32 and is saved together with its codecs, the attributes named in HOLDS."""

    HOLDS: ClassVar[tuple[str, ...]] = ("codec",)

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def get_config(self):
        held = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in self.HOLDS}
        return {**super().get_config(), **held}

    @classmethod
    def from_config(cls, config):
        held = {name: keras.saving.deserialize_keras_object(config[name]) for name in cls.HOLDS}
        return cls(**{**config, **held})


@keras.saving.register_keras_serializable(package="kerastransfer")
class Decode(CodecLayer):
    """From raw predictions to all candidates, {"boxes": (B, A, 4), "scores": (B, A, K)}."""

    def __init__(self, codec, **kwargs):
        super().__init__(**kwargs)
        self.codec = codec

    def call(self, predictions):
        boxes, scores = self.codec.decode(predictions)
        return {"boxes": boxes, "scores": scores}


@keras.saving.register_keras_serializable(package="kerastransfer")
class Levels(CodecLayer):
    """The map that each detection is pooled from: from {"boxes": (B, N, 4), "candidates": (B, N)} of a numbered
    `Suppress` and the raw maps to (B, N) int32, 0 being the finest map.

    rule: with "scale", the map whose grid found the box; with "fpn", by the area of the box (`ops.fpn`).
    """

    def __init__(self, codec, rule: Rule = "scale", **kwargs):
        super().__init__(**kwargs)
        self.codec, self.rule = codec, rule

    def call(self, found, raw):
        grids = self.codec.grids(raw)
        if self.rule == "fpn":
            return levels_by_area(self.codec, found["boxes"], grids)
        return self.codec.levels_of_candidates(found["candidates"], grids)

    def compute_output_spec(self, found, raw):
        return keras.KerasTensor(found["candidates"].shape, "int32")

    def get_config(self):
        return {**super().get_config(), "rule": self.rule}


@keras.saving.register_keras_serializable(package="kerastransfer")
class MaskTargets(CodecLayer):
    """The boxes in which masks are learnt: from annotations and proposals (B, A, 4) to the result of
    `MaskCodec.encode`. If an image has more boxes than are trained on at once, each step draws different ones."""

    HOLDS = ("mask_codec",)

    def __init__(self, mask_codec: MaskCodec, *, seed: int | None = None, **kwargs):
        super().__init__(**{**kwargs, "autocast": False})
        self.mask_codec, self.seed = mask_codec, seed
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, annotations, proposals):
        return self.mask_codec.encode(annotations, proposals, seed=self.seeds)

    def compute_output_spec(self, annotations, proposals):
        side = self.mask_codec.mask_size
        rows = (annotations["labels"].shape[0], None)
        return {
            "boxes": keras.KerasTensor((*rows, 4), "float32"),
            "labels": keras.KerasTensor(rows, "int32"),
            "targets": keras.KerasTensor((*rows, side, side), "float32"),
        }

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="kerastransfer")
class Rois(MaskTargets):
    """As `MaskTargets`, for detectors whose grids find the boxes: from annotations, proposals (B, A, 4), their levels
    (B, A) and the raw maps, with the result "levels" (B, R) as well.

    A proposal is pooled from the map that found it, as in inference. A true box was not found by any map, so it is
    pooled from the map of the anchor with the nearest shape, which learns it under all rules of the codec.
    """

    HOLDS = ("codec", "mask_codec")

    def __init__(self, codec, mask_codec: MaskCodec, **kwargs):
        super().__init__(mask_codec, **kwargs)
        self.codec = codec

    def call(self, annotations, proposals, levels, raw):
        rule = levels_by_area if self.mask_codec.level == "fpn" else levels_by_shape
        own = rule(self.codec, annotations["boxes"], self.codec.grids(raw))
        levels = ops.concatenate([own, ops.cast(levels, own.dtype)], axis=1)
        return self.mask_codec.encode(annotations, proposals, levels=levels, seed=self.seeds)

    def compute_output_spec(self, annotations, proposals, levels, raw):
        spec = super().compute_output_spec(annotations, proposals)
        return {**spec, "levels": keras.KerasTensor(spec["labels"].shape, "int32")}


@keras.saving.register_keras_serializable(package="kerastransfer")
class DecodeMasks(CodecLayer):
    """From logits (B, N, M, M, K) and labels (B, N) to probabilities (B, N, M, M), zeros if the label is -1."""

    HOLDS = ("mask_codec",)

    def __init__(self, mask_codec: MaskCodec, **kwargs):
        super().__init__(**kwargs)
        self.mask_codec = mask_codec

    def call(self, logits, labels):
        found = ops.cast(ops.reshape(labels >= 0, (*ops.shape(labels), 1, 1)), "float32")
        return self.mask_codec.decode(logits, labels) * found

    def compute_output_shape(self, logits_shape, labels_shape):
        return logits_shape[:-1]


@keras.saving.register_keras_serializable(package="kerastransfer")
class Vote(CodecLayer):
    """Box voting (ours): from raw predictions (B, h, w, C + 5 B) at every `output_stride`-th pixel to (B, H, W, K),
    H = h * output_stride. Each location adds its score to all pixels of the box that it predicts.

    The unit is the score of one cell at the trained stride, so that maps of different output strides are comparable.
    stride, image_size: those of the detector, as in `YoloV1Codec.decode_dense`. merge: all classes vote in one map.
    """

    def __init__(self, codec, output_stride: int, stride: int, image_size, merge: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.codec, self.merge = codec, merge
        self.output_stride, self.stride, self.image_size = output_stride, stride, tuple(image_size)

    def call(self, predictions):
        _, rows, columns, _ = predictions.shape
        size = rows * self.output_stride, columns * self.output_stride
        boxes, scores = self.codec.decode_dense(predictions, self.output_stride, self.stride, self.image_size)
        scores = ops.maximum(scores, 0) * (self.output_stride / self.stride) ** 2
        if self.merge:
            scores = ops.sum(scores, axis=-1, keepdims=True)
        return ops.stack([paint(boxes, scores[..., k], size) for k in range(scores.shape[-1])], axis=-1)

    def objectness(self, predictions):
        """The best score at each location, (B, h, w, K)."""
        batch, rows, columns, _ = predictions.shape
        _, scores = self.codec.decode_dense(predictions, self.output_stride, self.stride, self.image_size)
        scores = ops.max(ops.reshape(scores, (batch, rows, columns, -1, scores.shape[-1])), axis=3)
        return ops.max(scores, axis=-1, keepdims=True) if self.merge else scores

    def get_config(self):
        own = {name: getattr(self, name) for name in ("output_stride", "stride", "image_size", "merge")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="kerastransfer")
class Odds(keras.layers.Layer):
    """From votes (B, H, W, K) to logits (B, H, W, 1 + K): 0 for background, and for class k the logarithm of its votes
    / `thresholds[k]`. With a single class its probability is votes / (votes + threshold)."""

    def __init__(self, thresholds: Sequence[float], **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.thresholds = [float(threshold) for threshold in thresholds]

    def call(self, votes):
        # Votes are sums of signed terms, so rounding errors may make them slightly negative where there are none. The
        # bound is in units of the threshold: a poor detector's thresholds are smaller than any fixed bound.
        odds = votes / ops.convert_to_tensor(self.thresholds, "float32")
        classes = ops.log(ops.maximum(odds, 1e-4))
        return ops.concatenate([ops.zeros_like(classes[..., :1]), classes], axis=-1)

    def get_config(self):
        return {**super().get_config(), "thresholds": self.thresholds}


def levels_by_shape(codec, boxes, grids):
    """From boxes (B, N, 4) to (B, N), the index of the level that learns boxes of this shape."""
    return codec.levels_of(boxes, _pixels(codec, grids))


def levels_by_area(codec, boxes, grids):
    """From boxes (B, N, 4) to (B, N), the index of the level by the rule of feature pyramids, clipped to the codec's
    levels."""
    smallest, largest = (int(math.log2(codec.levels[end][1])) for end in (0, -1))
    return fpn_level(boxes, _pixels(codec, grids), smallest=smallest, largest=largest) - smallest


def _pixels(codec, grids):
    """(H, W) of the network's input, in pixels."""
    (rows, columns), (_, stride, _) = grids[0], codec.levels[0]
    return rows * stride, columns * stride

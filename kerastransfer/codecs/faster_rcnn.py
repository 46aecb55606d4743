"""Faster R-CNN (Ren et al. 2015) on a feature pyramid (Lin et al. 2017): proposals to classes and boxes, and back."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from kerastransfer.codecs.layers import CodecLayer
from kerastransfer.codecs.retinanet import AnchorCodec
from kerastransfer.codecs.sampling import sampled
from kerastransfer.ops.boxes import apply_deltas, deltas, pairwise_iou
from kerastransfer.ops.fpn import fpn_level

# In an image, of anchors that learn, and the largest share of those with an object; the same of boxes.
ANCHORS, ANCHORS_SHARE = 256, 0.5
BOXES, BOXES_SHARE = 128, 0.25
# Number of the best anchors that suppression chooses from.
CANDIDATES = 1000


@keras.saving.register_keras_serializable(package="kerastransfer")
@dataclasses.dataclass(frozen=True)
class FasterRcnnCodec:
    """What a network says of its proposals: "classes" (B, N, 1 + K) are logits, background first, and "boxes" (B, N,
    4 * K) take the proposals, "rois" (B, N, 4), to a box of each class, multiplied by `unit`.

    proposals: the codec of the first stage. iou: a proposal learns an object that it overlaps by at least this.
    """

    # Of two proposals that are nearly as good, a rounding error decides which one comes first.
    rows_vary: ClassVar[bool] = True

    num_classes: int
    proposals: AnchorCodec
    iou: float = 0.5
    unit: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", tuple(map(float, self.unit)))

    def get_config(self) -> dict:
        """The fields, as Keras stores them with a model."""
        own = {"num_classes": self.num_classes, "iou": self.iou, "unit": self.unit}
        return own | {"proposals": keras.saving.serialize_keras_object(self.proposals)}

    @classmethod
    def from_config(cls, config: dict) -> "FasterRcnnCodec":
        return cls(**{**config, "proposals": keras.saving.deserialize_keras_object(config["proposals"])})

    def deltas(self, boxes, rois):
        """(..., 4) that take rois to boxes that correspond, for boxes with area."""
        return deltas(boxes, rois) * np.array(self.unit, "float32")

    def decode(self, predictions: Mapping):
        """To boxes (B, N * K, (y1, x1, y2, x2)) clipped to the image, and scores (B, N * K, K): each box has a score
        for its own class alone."""
        rois, kinds = ops.cast(predictions["rois"], "float32"), self.num_classes
        shape = ops.shape(rois)
        batch, number = shape[0], rois.shape[1] or shape[1]
        found = ops.reshape(ops.cast(predictions["boxes"], "float32"), (batch, number, kinds, 4))
        boxes = apply_deltas(found / np.array(self.unit, "float32"), ops.expand_dims(rois, 2))
        scores = ops.softmax(ops.cast(predictions["classes"], "float32"))[..., 1:]
        # Padding has no area.
        there = ops.cast(ops.any(rois > 0, axis=-1, keepdims=True), "float32")
        own = ops.expand_dims(scores * there, -1) * np.eye(kinds, dtype="float32")
        boxes = ops.reshape(boxes, (batch, number * kinds, 4))
        return ops.clip(boxes, 0.0, 1.0), ops.reshape(own, (batch, number * kinds, kinds))

    def levels(self, boxes, size: tuple):
        """boxes (B, N, 4), the input's (H, W) in pixels, to the index of the map (B, N) that each is pooled from, the
        first of strides 4 to 32 (Lin et al. 2017, equation 1)."""
        return fpn_level(boxes, size, smallest=2, largest=5) - 2


@keras.saving.register_keras_serializable(package="kerastransfer")
class Candidates(CodecLayer):
    """From raw maps of anchors to the boxes (B, A, 4) and scores (B, A, 1) of the `most` best anchors."""

    def __init__(self, codec: AnchorCodec, most: int = CANDIDATES, **kwargs):
        super().__init__(**kwargs)
        self.codec, self.most = codec, most

    def call(self, raw):
        boxes, scores = self.codec.decode(raw)
        count = boxes.shape[1]
        most = ops.minimum(self.most, ops.shape(boxes)[1]) if count is None else min(self.most, count)
        best, index = ops.top_k(scores[..., 0], most)
        found = ops.take_along_axis(boxes, ops.expand_dims(ops.cast(index, "int32"), -1), axis=1)
        return {"boxes": ops.stop_gradient(found), "scores": ops.stop_gradient(ops.expand_dims(best, -1))}

    def compute_output_spec(self, raw):
        batch = next(iter(raw.values())).shape[0]
        shapes = {"boxes": 4, "scores": 1}
        return {name: keras.KerasTensor((batch, None, depth), "float32") for name, depth in shapes.items()}

    def get_config(self):
        return {**super().get_config(), "most": self.most}


@keras.saving.register_keras_serializable(package="kerastransfer")
class PyramidLevels(CodecLayer):
    """From boxes (B, N, 4) and the image to the index of the map (B, N) int32 that each box is pooled from."""

    def __init__(self, codec: FasterRcnnCodec, **kwargs):
        super().__init__(**kwargs)
        self.codec = codec

    def call(self, boxes, image):
        shape = image.shape[1:3]
        return self.codec.levels(boxes, tuple(shape) if None not in shape else tuple(ops.shape(image)[1:3]))

    def compute_output_spec(self, boxes, image):
        return keras.KerasTensor(boxes.shape[:2], "int32")


@keras.saving.register_keras_serializable(package="kerastransfer")
class AnchorTargets(CodecLayer):
    """What a sample of the anchors learns: from annotations {"boxes", "labels"} and raw maps to {"state": (B, A) int32,
    "boxes": (B, A, 4)} of `AnchorCodec.encode`, with state -1 for anchors that are not drawn."""

    def __init__(
        self,
        codec: AnchorCodec,
        most: int = ANCHORS,
        share: float = ANCHORS_SHARE,
        *,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "autocast": False})
        self.codec, self.most, self.share, self.seed = codec, most, share, seed
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, annotations, raw):
        # Every object is of the one class of proposals.
        labels = ops.minimum(annotations["labels"], 0)
        targets = self.codec.encode(annotations["boxes"], labels, self.codec.grids(raw))
        return {"state": sampled(targets["state"], self.most, self.share, self.seeds), "boxes": targets["boxes"]}

    def compute_output_spec(self, annotations, raw):
        batch = annotations["labels"].shape[0]
        return {
            "state": keras.KerasTensor((batch, None), "int32"),
            "boxes": keras.KerasTensor((batch, None, 4), "float32"),
        }

    def get_config(self):
        return {**super().get_config(), "most": self.most, "share": self.share, "seed": self.seed}


@keras.saving.register_keras_serializable(package="kerastransfer")
class BoxTargets(CodecLayer):
    """The boxes that the second stage learns from: a sample of the true boxes and of the proposals, as {"rois": (B, R,
    4), "labels": (B, R) int32, 0 for background, 1 + class, or -1 for padding, "targets": (B, R, 4), the object's box}.
    """

    def __init__(
        self,
        codec: FasterRcnnCodec,
        most: int = BOXES,
        share: float = BOXES_SHARE,
        *,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "autocast": False})
        self.codec, self.most, self.share, self.seed = codec, most, share, seed
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, annotations, proposals):
        truths, labels = ops.cast(annotations["boxes"], "float32"), annotations["labels"]
        boxes = ops.concatenate([truths, ops.stop_gradient(ops.cast(proposals, "float32"))], axis=1)
        real = ops.min(boxes[..., 2:] - boxes[..., :2], axis=-1) > 0
        overlap = ops.where(ops.expand_dims(labels >= 0, 1), pairwise_iou(boxes, truths), -1.0)
        best = ops.cast(ops.argmax(overlap, axis=-1), "int32")
        state = ops.where(ops.max(overlap, axis=-1) >= self.codec.iou, 1, 0)
        state = sampled(ops.where(real, state, -1), self.most, self.share, self.seeds)
        count = ops.shape(boxes)[1]
        most = min(self.most, count) if isinstance(count, int) else ops.minimum(self.most, count)
        # Those that were drawn, in front.
        rank, order = ops.top_k(ops.where(state >= 0, count - ops.arange(count), 0), most)
        order, there = ops.cast(order, "int32"), rank > 0
        best, state = (ops.take_along_axis(one, order, axis=1) for one in (best, state))
        own = ops.take_along_axis(truths, ops.expand_dims(best, -1), axis=1)
        kinds = ops.where(ops.equal(state, 1), 1 + ops.take_along_axis(labels, best, axis=1), 0)
        rois = ops.take_along_axis(boxes, ops.expand_dims(order, -1), axis=1)
        return {
            "rois": ops.where(ops.expand_dims(there, -1), rois, 0.0),
            "labels": ops.cast(ops.where(there, kinds, -1), "int32"),
            "targets": own,
        }

    def compute_output_spec(self, annotations, proposals):
        batch = annotations["labels"].shape[0]
        return {
            "rois": keras.KerasTensor((batch, None, 4), "float32"),
            "labels": keras.KerasTensor((batch, None), "int32"),
            "targets": keras.KerasTensor((batch, None, 4), "float32"),
        }

    def get_config(self):
        return {**super().get_config(), "most": self.most, "share": self.share, "seed": self.seed}

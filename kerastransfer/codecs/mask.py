"""Masks in boxes: the boxes and targets that a mask head learns from, and decoding its masks (Mask R-CNN, He et al.
2017, section 3; YOLO-Mask, sections 3 and 4)."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import keras
from keras import ops

from kerastransfer.ops.boxes import pairwise_iou
from kerastransfer.ops.masks import of_class
from kerastransfer.ops.roi_align import roi_align
from kerastransfer.vocabulary import FULL


@keras.saving.register_keras_serializable(package="kerastransfer")
@dataclasses.dataclass(frozen=True)
class MaskCodec:
    """Encodes and decodes masks in boxes.

    mask_size: M, the side of a mask.
    most: R, the largest number of boxes in an image that are trained on at once.
    iou: a proposal is trained on if its IoU with a true box is at least this.
    level: the map that a box is pooled from. With "scale", the map whose grid found the box, and for a true box the one
        that learns boxes of its shape (YOLO-Mask, section 3.4); with "fpn", by the area of the box (`ops.fpn`).
    """

    mask_size: int = 28
    most: int = 100
    iou: float = 0.5
    level: Literal["scale", "fpn"] = "scale"

    def get_config(self) -> dict:
        """The fields, for saving with a Keras model."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "MaskCodec":
        return cls(**config)

    def encode(self, annotations: Mapping, proposals=None, *, levels=None, seed=None) -> dict:
        """From annotations {"boxes": (B, N, 4), "labels": (B, N), "masks": (B, N, m, m) crops, "frames": (B, N, 4)} and
        proposals (B, A, 4) to {"boxes": (B, R, 4), "labels": (B, R), "targets": (B, R, M, M) float32 0 or 1}.

        The boxes are the true ones, followed by the proposals that overlap a true box enough, in their order, up to R
        (or N + A, if that is less). Label and mask are those of the true box that a box overlaps most; a cell of the
        target is 1 if the mask covers at least half of it. True boxes without a mask (frames of zeros), and proposals
        that overlap these most, are left out. Results are padded with zeros and -1.

        levels: (B, N + A), a number for each true box and proposal; adds "levels" (B, R), those of the chosen boxes.
        seed: a `keras.random.SeedGenerator`. If there are more than R boxes they are drawn with it, so that all of them
            are learnt from in the course of training. Without it the first R are taken.
        """
        truths, labels, frames = (annotations[name] for name in ("boxes", "labels", "frames"))
        truths = ops.cast(truths, "float32")
        number = ops.shape(truths)[1]
        boxes, best, good = truths, ops.broadcast_to(ops.arange(number), ops.shape(labels)), labels >= 0
        if proposals is not None:
            proposals = ops.stop_gradient(ops.cast(proposals, "float32"))
            overlap = ops.where(ops.expand_dims(good, 1), pairwise_iou(proposals, truths), -1.0)
            boxes = ops.concatenate([boxes, proposals], axis=1)
            best = ops.concatenate([best, ops.cast(ops.argmax(overlap, axis=-1), best.dtype)], axis=1)
            good = ops.concatenate([good, ops.max(overlap, axis=-1) >= self.iou], axis=1)
        good = ops.logical_and(good, _rows(ops.any(ops.not_equal(frames, 0), axis=-1), best))

        total = ops.shape(boxes)[1]
        most = min(total, self.most) if isinstance(total, int) else ops.minimum(total, self.most)
        if seed is not None:
            draw = ops.where(good, keras.random.uniform(ops.shape(good), seed=seed), -1.0)
            good = ops.logical_and(good, draw >= ops.top_k(draw, most)[0][:, -1:])
        # In the order of the boxes.
        rank = ops.where(good, total - ops.arange(total), 0)
        rank, order = ops.top_k(rank, most)
        chosen, best = rank > 0, _rows(best, order)
        boxes = ops.where(ops.expand_dims(chosen, -1), _rows(boxes, order), 0.0)
        targets = self._targets(_rows(annotations["masks"], best), _rows(frames, best), boxes)
        found = {
            "boxes": boxes,
            "labels": ops.where(chosen, _rows(labels, best), -1),
            "targets": ops.where(ops.reshape(chosen, (*ops.shape(chosen), 1, 1)), targets, 0.0),
        }
        return found if levels is None else {**found, "levels": ops.where(chosen, _rows(levels, order), 0)}

    def decode(self, logits, labels):
        """From logits (B, N, M, M, K) and the class of each box (B, N) to the probability of that class,
        (B, N, M, M)."""
        return ops.sigmoid(of_class(logits, labels))

    def _targets(self, crops, frames, boxes):
        """Crops (B, R, m, m) over frames (B, R, 4), which are inside out in mirrored images, resampled to boxes
        (B, R, 4)."""
        near, span = frames[..., :2], frames[..., 2:] - frames[..., :2]
        span = ops.where(ops.equal(span, 0), 1.0, span)
        within = ops.concatenate([(boxes[..., :2] - near) / span, (boxes[..., 2:] - near) / span], axis=-1)
        side, shape = crops.shape[-1], ops.shape(boxes)[:2]
        covered = roi_align(
            ops.cast(ops.reshape(crops, (-1, side, side, 1)), "float32"),
            ops.reshape(within, (-1, 1, 4)),
            self.mask_size,
            # With this ratio every cell of the crop has a sample; in the object's own box exactly one.
            sampling_ratio=-(-side // self.mask_size),
        )
        covered = ops.reshape(covered, (*shape, self.mask_size, self.mask_size))
        return ops.cast(covered >= FULL / 2, "float32")


def _rows(values, index):
    """The rows of each image with these indices: from (B, N, ...), (B, R) to (B, R, ...)."""
    batch, number = ops.shape(values)[:2]
    first = ops.expand_dims(ops.arange(batch) * number, 1)
    flat = ops.reshape(values, (batch * number, *values.shape[2:]))
    return ops.take(flat, ops.cast(index, first.dtype) + first, axis=0)

"""YoloSegNet: a decoder without skips on a detector's encoder (spec/01 section 7)."""

from collections.abc import Sequence

import keras

from kerastransfer.decoders import segnet
from kerastransfer.heads import pixels
from kerastransfer.models.segmenter import segmenter


def yolo_segnet(encoder: keras.Model, num_classes: int, *, widths: Sequence[int] | None = None) -> keras.Model:
    """Image to logits (B, H, W, num_classes), background included. Freeze the encoder before `compile` with
    `models.parts.freeze`."""
    return segmenter(encoder, segnet.segnet, pixels.transposed, num_classes, widths=widths, name="yolo_segnet")

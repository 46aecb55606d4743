"""YoloSegNet: a decoder without skip connections on a detector's encoder."""

from collections.abc import Sequence

import keras

from kerastransfer.models.segmenter import segmenter


def yolo_segnet(encoder: keras.Model, num_classes: int, *, widths: Sequence[int] | None = None) -> keras.Model:
    """From image to logits (B, H, W, num_classes), background included: `segmenter` with the decoder "segnet"."""
    return segmenter(encoder, "segnet", num_classes, widths=widths, name="yolo_segnet")

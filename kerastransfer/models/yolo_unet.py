"""YoloUNet: a decoder with skips on a detector's encoder, and the control that paper A lacks (spec/01 section 7)."""

from collections.abc import Sequence

import keras

from kerastransfer.decoders import segnet, unet
from kerastransfer.heads import pixels
from kerastransfer.models.segmenter import segmenter
from kerastransfer.models.yolo_segnet import yolo_segnet


def yolo_unet(encoder: keras.Model, num_classes: int, *, widths: Sequence[int] | None = None) -> keras.Model:
    """Image to logits (B, H, W, num_classes), background included."""
    return segmenter(encoder, unet.unet, pixels.pointwise, num_classes, widths=widths, name="yolo_unet")


def matched_segnet(encoder: keras.Model, num_classes: int) -> keras.Model:
    """YoloSegNet widened until it has as many decoder parameters as YoloUNet (to the nearest width).

    The paper compares decoders of 2.8 and 6.6 million parameters; this one tells skips from capacity.
    """
    wanted = _decoder_parameters(yolo_unet(encoder, num_classes))
    low, high = 1.0, 8.0
    for _ in range(12):
        middle = (low + high) / 2
        if _decoder_parameters(_widened(encoder, num_classes, middle)) < wanted:
            low = middle
        else:
            high = middle
    return _widened(encoder, num_classes, high)


def _widened(encoder, num_classes, factor):
    channels = encoder.output["c5"].shape[-1]
    return yolo_segnet(
        encoder, num_classes, widths=[round(width * factor * channels / 1024) for width in segnet.WIDTHS]
    )


def _decoder_parameters(model):
    return sum(model.get_layer(part).count_params() for part in ("decoder", "head"))


DECODERS = {"segnet": yolo_segnet, "unet": yolo_unet, "segnet_matched": matched_segnet}

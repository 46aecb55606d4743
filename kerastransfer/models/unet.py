"""The U-Net of Dippel et al. 2022, section 2.3, whole."""

import keras

from kerastransfer.encoders.unet import unet_encoder
from kerastransfer.models.segmenter import segmenter


def unet(num_classes: int, *, width: int = 64, depth: int = 4) -> keras.Model:
    """From image (B, H, W, 3) in 0..255 to logits (B, H, W, num_classes), H and W multiples of 2 ** (depth - 1), with
    random weights; with 1 class and as published it has 7,882,433 parameters, statistics included.

    On another encoder this decoder is `segmenter(encoder, "unet_plain", num_classes)`. width, depth: as in
    `unet_encoder`.
    """
    return segmenter(unet_encoder(width, depth), "unet_plain", num_classes, name="unet")

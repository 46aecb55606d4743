"""RetinaNet (Lin et al. 2017) on any encoder."""

import keras

from kerastransfer.codecs.retinanet import AnchorCodec
from kerastransfer.decoders.fpn import fpn
from kerastransfer.encoders import taps
from kerastransfer.heads import pyramid
from kerastransfer.models.parts import joined

# (name, stride) of the maps of its feature pyramid.
LEVELS = (("p3", 8), ("p4", 16), ("p5", 32), ("p6", 64), ("p7", 128))


def retinanet(encoder: keras.Model, codec: AnchorCodec, *, channels: int = 256, towers: int = 4) -> keras.Model:
    """From image (B, H, W, 3), H and W multiples of 32, to raw maps {"p3_classes": (B, H / 8, W / 8, A * K),
    "p3_boxes": (B, H / 8, W / 8, A * 4), ..., "p7_boxes"}, A anchors in a cell, before any sigmoid.

    encoder: with taps of strides 8, 16 and 32. channels: of the pyramid and of the head. towers: number of convolutions
    before the last one of the head.
    Raises UserError if the encoder has no tap of one of these strides.
    """
    decoder = fpn(taps.channels(encoder), taps.strides(encoder), filters=channels)
    names = [name for name, _ in codec.levels]
    anchors = len(codec.shapes[0])
    head = pyramid.retinanet(names, codec.num_classes, anchors, channels=channels, towers=towers)
    return joined(encoder, decoder, head, name="retinanet")

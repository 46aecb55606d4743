"""FCOS (Tian et al. 2019) on any encoder."""

import keras

from kerastransfer.codecs.fcos import FcosCodec
from kerastransfer.decoders.fpn import fpn
from kerastransfer.encoders import taps
from kerastransfer.heads import pyramid
from kerastransfer.models.parts import joined


def fcos(
    encoder: keras.Model, codec: FcosCodec, *, channels: int = 256, towers: int = 4, centerness: str = "classes"
) -> keras.Model:
    """From image (B, H, W, 3), H and W multiples of 32, to raw maps {"p3_classes": (B, H / 8, W / 8, K), "p3_boxes":
    (B, H / 8, W / 8, 4), "p3_centerness": (B, H / 8, W / 8, 1), ..., "p7_centerness"}, before any sigmoid.

    centerness: "classes" or "boxes", the tower of the head that it is predicted from. The other arguments, and errors,
    are as for `models.retinanet.retinanet`.
    """
    decoder = fpn(taps.channels(encoder), taps.strides(encoder), filters=channels, extra="pyramid")
    names = [name for name, _ in codec.levels]
    head = pyramid.fcos(names, codec.num_classes, channels=channels, towers=towers, centerness=centerness)
    return joined(encoder, decoder, head, name="fcos")

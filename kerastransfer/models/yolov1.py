"""YOLOv1 (Redmon et al. 2016): an encoder, and a head on its last tap."""

import keras

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders import taps
from kerastransfer.heads.yolov1 import HEADS
from kerastransfer.models.parts import feed


def yolov1(encoder: keras.Model, codec: YoloV1Codec, *, head: str = "fully_conv", **options) -> keras.Model:
    """From image (B, H, W, 3) to raw predictions in the layout of `codec`: (B, S, S, C + 5 B), or flat for
    "darknet_local".

    encoder: its last tap is read, as the head's "c5". head: "fully_conv", "paper_fc" or "darknet_local". options: for
    the head (`hidden`, `grid`).
    The parts are "encoder"; "decoder", which has no weights and only passes the head's inputs through; and "head".
    """
    image = keras.Input(encoder.input.shape[1:], name="image")
    last = taps.last(encoder)
    head = HEADS[head](taps.channels(encoder)[last], codec.outputs, **options)
    maps = {"c5": encoder(image)[last]}
    return keras.Model(image, feed(head, feed(passing_on(head), maps)), name="yolov1")


def passing_on(head: keras.Model) -> keras.Model:
    """The decoder of a network without a neck: it returns the taps that the head reads unchanged."""
    maps = {name: keras.Input((None, None, tap.shape[-1]), name=name) for name, tap in head.input.items()}
    passed = {name: keras.layers.Identity(name=f"{name}_map")(tap) for name, tap in maps.items()}
    return keras.Model(maps, passed, name="decoder")

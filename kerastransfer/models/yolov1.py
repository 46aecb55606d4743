"""The detector: an encoder, and a head on its last tap."""

import keras

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.heads.yolov1 import HEADS
from kerastransfer.models.parts import feed


def yolov1(encoder: keras.Model, codec: YoloV1Codec, *, head: str = "fully_conv", **options) -> keras.Model:
    """Image (B, H, W, 3) to raw predictions as `codec` reads them: (B, S, S, C + 5 B), or flat for "darknet_local".

    head: "fully_conv", "paper_fc" or "darknet_local"; `options` go to it (`hidden`, `grid`).
    """
    image = keras.Input(encoder.input.shape[1:], name="image")
    channels = encoder.output["c5"].shape[-1]
    return keras.Model(image, feed(HEADS[head](channels, codec.outputs, **options), encoder(image)), name="yolov1")

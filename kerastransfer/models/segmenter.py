"""What YoloSegNet and YoloUNet share: encoder, decoder, head."""

import keras

from kerastransfer.encoders.yolov1 import tap_strides
from kerastransfer.models.parts import feed


def segmenter(encoder: keras.Model, decoder, head, num_classes: int, *, name: str, **options) -> keras.Model:
    """Image (B, H, W, 3) to logits (B, H, W, num_classes), H and W multiples of the encoder's stride.

    decoder, head: the builders of the parts; `options` go to the decoder's (`widths`).
    """
    channels = {tap: output.shape[-1] for tap, output in encoder.output.items()}
    image = keras.Input(encoder.input.shape[1:], name="image")
    decoder = decoder(channels, tap_strides(encoder), **options)
    features = feed(decoder, encoder(image))
    head = head(features["pixels"].shape[-1], num_classes)
    return keras.Model(image, feed(head, features), name=name)


def behind_encoder(network: keras.Model) -> keras.Model:
    """What follows the encoder of a segmenter: taps {"c1": (B, h, w, D), ...} to logits. It shares the parts of
    `network`: what trains one trains the other."""
    decoder, head = network.get_layer("decoder"), network.get_layer("head")
    taps = {tap: keras.Input(maps.shape[1:], name=tap) for tap, maps in decoder.input.items()}
    return keras.Model(taps, feed(head, feed(decoder, taps)), name=network.name)

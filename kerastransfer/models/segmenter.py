"""Segmenters: an encoder, a decoder, and a head that gives each pixel a logit per class."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras

from kerastransfer.decoders import yolo_segnet, yolo_unet
from kerastransfer.encoders import taps
from kerastransfer.errors import UserError
from kerastransfer.heads import pixels
from kerastransfer.layers.multiple_of import MultipleOf
from kerastransfer.models.parts import feed


@dataclasses.dataclass(frozen=True)
class Part:
    """What comes behind an encoder.

    decoder: builds the part of that name: `decoder(channels, strides, widths=None)`, both of the encoder's taps, gives
        a model from some of the taps to {"pixels": ...}.
    head: `head(features, num_classes)` gives a model from these to logits (B, H, W, num_classes).
    widths: where the decoder's own default is not wanted, `widths(channels, strides, num_classes)`.
    """

    decoder: Callable[..., keras.Model]
    head: Callable[[int, int], keras.Model]
    widths: Callable[[Mapping[str, int], Mapping[str, int], int], Sequence[int]] | None = None


def as_wide_as_unet(channels: Mapping[str, int], strides: Mapping[str, int], num_classes: int) -> list[int]:
    """Widths that give a SegNet decoder as many parameters as the U-Net decoder has, to the nearest width.

    The decoders that ElSedfy (2025) compares have 2.8 and 6.6 million parameters; this control tells skips from
    capacity.
    """

    def parameters(part, widths=None):
        decoder = part.decoder(channels, strides, widths=widths)
        return decoder.count_params() + part.head(decoder.output["pixels"].shape[-1], num_classes).count_params()

    def widened(factor):
        deepest = channels[yolo_segnet.deepest(strides)]
        return [round(width * factor * deepest / 1024) for width in yolo_segnet.WIDTHS]

    wanted = parameters(DECODERS["unet"])
    low, high = 1.0, 8.0
    for _ in range(12):
        middle = (low + high) / 2
        if parameters(DECODERS["segnet"], widened(middle)) < wanted:
            low = middle
        else:
            high = middle
    return widened(high)


DECODERS = {
    "segnet": Part(yolo_segnet.segnet, pixels.transposed),
    "unet": Part(yolo_unet.unet, pixels.pointwise),
    "segnet_matched": Part(yolo_segnet.segnet, pixels.transposed, as_wide_as_unet),
}


def segmenter(
    encoder: keras.Model,
    decoder: str | Part,
    num_classes: int,
    *,
    widths: Sequence[int] | None = None,
    name: str | None = None,
) -> keras.Model:
    """Image (B, H, W, 3) to logits (B, H, W, num_classes), H and W multiples of the encoder's stride; background counts
    as a class. Freeze the encoder before `compile` with `models.parts.freeze`.

    encoder: any model from an image (B, H, W, 3) in 0..255 to a dict of its stages {"c1": (B, h, w, D), ...}, of a
        fixed image size or of any.
    decoder: a name in DECODERS, or a `Part`. widths: of its steps up, the first being the deepest.
    Raises UserError for a decoder that is unknown, and for an encoder that is none or has an impossible size.
    """
    if isinstance(decoder, str) and decoder not in DECODERS:
        raise UserError(f"unknown decoder {decoder!r}; choose {', '.join(DECODERS)}")
    name = name or (decoder if isinstance(decoder, str) else "segmenter")
    part = DECODERS[decoder] if isinstance(decoder, str) else decoder
    channels, strides = taps.channels(encoder), taps.strides(encoder)
    taps.check_size(encoder)
    if widths is None and part.widths is not None:
        widths = part.widths(channels, strides, num_classes)
    decoder = part.decoder(channels, strides, widths=widths)
    head = part.head(decoder.output["pixels"].shape[-1], num_classes)
    image = keras.Input(encoder.input.shape[1:], name="image")
    maps = encoder(MultipleOf(max(strides.values()))(image))
    return keras.Model(image, feed(head, feed(decoder, maps)), name=name)


def behind_encoder(network: keras.Model) -> keras.Model:
    """What follows the encoder of a segmenter: taps {"c1": (B, h, w, D), ...} to logits. It shares the parts of
    `network`: what trains one trains the other."""
    decoder, head = network.get_layer("decoder"), network.get_layer("head")
    maps = {tap: keras.Input(maps.shape[1:], name=tap) for tap, maps in decoder.input.items()}
    return keras.Model(maps, feed(head, feed(decoder, maps)), name=network.name)

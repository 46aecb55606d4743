"""Segmenters: an encoder, a decoder, and a head with a logit for each pixel and class."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras

from kerastransfer.decoders import deeplab, unet, yolo_segnet, yolo_unet
from kerastransfer.encoders import taps
from kerastransfer.errors import UserError
from kerastransfer.heads import pixels
from kerastransfer.layers.multiple_of import MultipleOf
from kerastransfer.models.parts import feed


@dataclasses.dataclass(frozen=True)
class Part:
    """What follows the encoder.

    decoder: builds the part called "decoder": `decoder(channels, strides, widths=None)`, with the channels and strides
        of the encoder's taps, returns a model from some of the taps to {"pixels": ...}.
    head: `head(features, num_classes)` returns a model from these to logits (B, H, W, num_classes).
    widths: `widths(channels, strides, num_classes)`, in place of the decoder's own default.
    enlarges: whether the decoder stays at the size of the deepest tap, and the head is `head(features, num_classes,
        scale)`, with the stride of that tap as scale.
    """

    decoder: Callable[..., keras.Model]
    head: Callable[..., keras.Model]
    widths: Callable[[Mapping[str, int], Mapping[str, int], int], Sequence[int]] | None = None
    enlarges: bool = False


def as_wide_as_unet(channels: Mapping[str, int], strides: Mapping[str, int], num_classes: int) -> list[int]:
    """Widths that give a SegNet decoder as many parameters as the U-Net decoder, to the nearest width.

    The decoders that ElSedfy 2025 compares have 2.8 and 6.6 million parameters; this control separates the effect of
    skip connections from that of capacity.
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
    "unet_plain": Part(unet.unet, pixels.pointwise),
    "deeplab": Part(deeplab.deeplab, pixels.interpolated, enlarges=True),
    "deeplab_aspp": Part(deeplab.pyramid, pixels.interpolated, enlarges=True),
}


def segmenter(
    encoder: keras.Model,
    decoder: str | Part,
    num_classes: int,
    *,
    widths: Sequence[int] | None = None,
    name: str | None = None,
) -> keras.Model:
    """From image (B, H, W, 3) to logits (B, H, W, num_classes), where H and W are multiples of the encoder's stride and
    background is one of the classes. To freeze the encoder, call `models.parts.freeze` before `compile`.

    encoder: any model from an image (B, H, W, 3) in 0..255, of a fixed or a variable size, to a dict of its stages
        {"c1": (B, h, w, D), ...}.
    decoder: a name in DECODERS, or a `Part`. widths: those of its upsampling steps, from the deepest.
    Raises UserError for an unknown decoder, and for a model that is not an encoder or has an unsuitable image size.
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
    scale = (max(strides.values()),) if part.enlarges else ()
    head = part.head(decoder.output["pixels"].shape[-1], num_classes, *scale)
    image = keras.Input(encoder.input.shape[1:], name="image")
    maps = encoder(MultipleOf(max(strides.values()))(image))
    return keras.Model(image, feed(head, feed(decoder, maps)), name=name)


def behind_encoder(network: keras.Model) -> keras.Model:
    """The part of a segmenter behind its encoder, from taps {"c1": (B, h, w, D), ...} to logits. It shares the parts of
    `network`, so that training one trains the other."""
    decoder, head = network.get_layer("decoder"), network.get_layer("head")
    maps = {tap: keras.Input(maps.shape[1:], name=tap) for tap, maps in decoder.input.items()}
    return keras.Model(maps, feed(head, feed(decoder, maps)), name=network.name)

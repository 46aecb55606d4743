"""RetinaNet (Lin et al. 2017): anchors on a feature pyramid, and the focal loss."""

import dataclasses
from typing import Literal

from kerastransfer.detectors import pyramid
from kerastransfer.detectors.detector import Detector, Purpose
from kerastransfer.flags import require_positive

NETS = {"retinanet": pyramid.STRIDE}


@dataclasses.dataclass
class Settings(pyramid.PyramidSettings):
    """Settings of a RetinaNet detector."""

    loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    """Loss of the boxes: smooth L1 of the deltas, as published, or GIoU."""
    anchor_size: float = 4.0
    """Side of the smallest anchors of a level, in strides: with 4, anchors have 32 to 813 pixels; a smaller one suits
    smaller objects or images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "anchor_size", prefix="net.")


def build(settings: Settings, net: str, purpose: Purpose) -> Detector:
    """The detector. Raises UserError for an image size or an encoder that does not fit, and if the purpose's start is
    not of this family."""
    from kerastransfer.codecs.retinanet import AnchorCodec, retinanet_codec
    from kerastransfer.losses.retinanet import WEIGHTS, retinanet_loss
    from kerastransfer.models.retinanet import LEVELS, retinanet

    classes, start = len(purpose.classes), purpose.start
    if start is not None:
        start.require(AnchorCodec, settings)
        start.refuse(settings, "anchor_size")
        codec = dataclasses.replace(start.codec, num_classes=classes)
        return pyramid.started(settings, start, purpose, codec, retinanet_loss(codec, settings.loss), WEIGHTS)
    codec = retinanet_codec(classes, LEVELS, size=settings.anchor_size)

    def make(encoder):
        return retinanet(encoder, codec, channels=settings.channels, towers=settings.towers)

    return pyramid.detector(settings, purpose, codec, make, retinanet_loss(codec, settings.loss), WEIGHTS)


def any_size(settings: Settings) -> bool:
    """Whether the network takes images of several sizes, as --multi-scale needs."""
    return True

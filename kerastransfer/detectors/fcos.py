"""FCOS (Tian et al. 2019): a box at every place of a feature pyramid, without anchors."""

import dataclasses
from typing import Literal

from kerastransfer.detectors import pyramid
from kerastransfer.detectors.detector import Detector, Purpose

NETS = {"fcos": pyramid.STRIDE}


@dataclasses.dataclass
class Settings(pyramid.PyramidSettings):
    """Settings of an FCOS detector."""

    version: Literal["improved", "basic"] = "improved"
    """`basic` as first published; `improved` learns only near the centres of objects, with a GIoU loss, distances in
    strides, and centerness in the tower of the boxes."""


def build(settings: Settings, net: str, purpose: Purpose) -> Detector:
    """The detector. Raises UserError for an image size or an encoder that does not fit, and if the purpose's start is
    not of this family."""
    from kerastransfer.codecs.fcos import FcosCodec
    from kerastransfer.losses.fcos import WEIGHTS, fcos_loss
    from kerastransfer.models.fcos import fcos
    from kerastransfer.models.retinanet import LEVELS

    classes, start = len(purpose.classes), purpose.start
    improved = settings.version == "improved"
    if start is not None:
        start.require(FcosCodec, settings)
        start.refuse(settings, "version")
        codec = dataclasses.replace(start.codec, num_classes=classes)
        terms = fcos_loss(codec, "giou" if codec.radius else "iou")
        return pyramid.started(settings, start, purpose, codec, terms, WEIGHTS)
    own = {"radius": 1.5, "distances": "strides"} if improved else {}
    codec = FcosCodec(classes, LEVELS, **own)

    def make(encoder):
        tower = "boxes" if improved else "classes"
        return fcos(encoder, codec, channels=settings.channels, towers=settings.towers, centerness=tower)

    terms = fcos_loss(codec, "giou" if improved else "iou")
    return pyramid.detector(settings, purpose, codec, make, terms, WEIGHTS)


def any_size(settings: Settings) -> bool:
    """Whether the network takes images of several sizes, as --multi-scale needs."""
    return True

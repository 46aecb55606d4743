"""Mask R-CNN (He et al. 2017): Faster R-CNN with a branch that predicts a mask in each box. It trains on masks."""

import dataclasses
from typing import Literal

from kerastransfer.detectors import faster_rcnn, pyramid
from kerastransfer.detectors.detector import Detector, Purpose
from kerastransfer.flags import require_positive

NETS = {"mask_rcnn": pyramid.STRIDE}
TASK = "instances"
# Boxes in an image whose masks are learnt at once: those with an object of the second stage's.
BOXES = 32
# Settings that a detector to start from has already.
OF_NET = ("hidden", "anchor_size", "mask_size", "mask_filters", "mask_convs", "class_agnostic")


@dataclasses.dataclass
class Settings(faster_rcnn.Settings):
    """Settings of a Mask R-CNN detector. Its first stage has no towers."""

    mask_size: Literal[28, 14, 7] = 28
    """Side of a predicted mask."""
    mask_filters: int = 256
    """Number of filters in each layer of the mask branch; 64 suits two CPU cores."""
    mask_convs: int = 4
    """Number of 3 x 3 convolutions before the resolution of the mask is doubled; 2 suits two CPU cores."""
    class_agnostic: bool = False
    """Predict a single mask per box, whatever its class, instead of one for each class."""
    detections: int = 100
    """Largest number of boxes in an image that get a mask, in scoring and in exported files; inference time grows with
    it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "mask_filters", "mask_convs", "detections", prefix="net.")


def build(settings: Settings, net: str, purpose: Purpose) -> Detector:
    """The detector. Raises UserError for an image size or an encoder that does not fit, and if the purpose's start is
    not of this family."""
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.masked_boxes import MaskedBoxes
    from kerastransfer.losses.mask_rcnn import WEIGHTS, mask_rcnn_loss
    from kerastransfer.models import mask_rcnn, two_stages
    from kerastransfer.models.faster_rcnn import faster_rcnn_codec

    start = purpose.start
    if start is not None:
        start.require(MaskedBoxes, settings)
        boxes = dataclasses.replace(start.codec.codec, num_classes=len(purpose.classes))
        codec = dataclasses.replace(start.codec, codec=boxes, detections=settings.detections)
    else:
        boxes = faster_rcnn_codec(len(purpose.classes), size=settings.anchor_size)
        codec = MaskedBoxes(boxes, MaskCodec(settings.mask_size, BOXES, level="fpn"), settings.detections)

    def make(encoder, source=None):
        own = {
            "filters": settings.mask_filters,
            "convs": settings.mask_convs,
            "class_agnostic": settings.class_agnostic,
            **faster_rcnn.sizes(settings),
        }
        if source:
            own |= two_stages.options(source) | two_stages.mask_options(source)
        return mask_rcnn.mask_rcnn(encoder, codec, **own)

    def reading(network):
        return mask_rcnn.learner(network, codec, proposals=2 * settings.proposals, seed=purpose.seed)

    terms = mask_rcnn_loss(codec)
    if start is None:
        built = pyramid.detector(settings, purpose, codec, make, terms, WEIGHTS)
    else:
        start.refuse(settings, *OF_NET)
        built = faster_rcnn.started(settings, purpose, codec, make, terms, WEIGHTS)
    return dataclasses.replace(built, reading=reading, task=TASK)


def any_size(settings: Settings) -> bool:
    """Whether the network takes images of several sizes, as --multi-scale needs."""
    return True

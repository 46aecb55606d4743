"""Faster R-CNN (Ren et al. 2015): proposals on a feature pyramid, and a second stage that classifies and refines
them."""

import dataclasses
from collections.abc import Callable
from typing import Any

from kerastransfer.detectors import pyramid
from kerastransfer.detectors.detector import Detector, Purpose
from kerastransfer.flags import require_positive

NETS = {"faster_rcnn": pyramid.STRIDE}


@dataclasses.dataclass
class Settings(pyramid.PyramidSettings):
    """Settings of a Faster R-CNN detector. Its first stage has no towers."""

    hidden: int = 1024
    """Number of units in each of the two dense layers of the second stage; 256 suits two CPU cores."""
    proposals: int = 100
    """Number of proposals that the second stage looks at, in scoring and in exported files; it learns from up to 128 of
    twice as many."""
    anchor_size: float = 8.0
    """Side of the anchors of a level, in strides: with 8, they have 32 to 512 pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "hidden", "proposals", "anchor_size", prefix="net.")


def build(settings: Settings, net: str, purpose: Purpose) -> Detector:
    """The detector. Raises UserError for an image size or an encoder that does not fit, and if the purpose's start is
    not of this family."""
    from kerastransfer.codecs.faster_rcnn import FasterRcnnCodec
    from kerastransfer.losses.faster_rcnn import WEIGHTS, faster_rcnn_loss
    from kerastransfer.models import faster_rcnn, two_stages

    start = purpose.start
    if start is not None:
        start.require(FasterRcnnCodec, settings)
        codec = dataclasses.replace(start.codec, num_classes=len(purpose.classes))
    else:
        codec = faster_rcnn.faster_rcnn_codec(len(purpose.classes), size=settings.anchor_size)

    def make(encoder, source=None):
        own = two_stages.options(source) if source else {}
        return faster_rcnn.faster_rcnn(encoder, codec, **sizes(settings) | own)

    def reading(network):
        return faster_rcnn.learner(network, codec, proposals=2 * settings.proposals, seed=purpose.seed)

    terms = faster_rcnn_loss(codec)
    if start is None:
        built = pyramid.detector(settings, purpose, codec, make, terms, WEIGHTS)
    else:
        start.refuse(settings, "hidden", "anchor_size")
        built = started(settings, purpose, codec, make, terms, WEIGHTS)
    return dataclasses.replace(built, reading=reading)


def started(
    settings: Settings, purpose: Purpose, codec: Any, make: Callable, terms: Callable, weights: dict
) -> Detector:
    """The detector that the purpose starts from, for its classes. make: a function from an encoder and the network that
    is started from to a new one like it."""
    from kerastransfer.models import two_stages

    start = purpose.start

    def filled(source, encoder):
        network = make(encoder, source)
        two_stages.copy(source, network, start.labels, purpose.classes)
        return network

    return pyramid.started(settings, start, purpose, codec, terms, weights, filled)


def sizes(settings: Settings) -> dict:
    """The options of `models.faster_rcnn.faster_rcnn`."""
    return {name: getattr(settings, name) for name in ("channels", "hidden", "proposals")}


def any_size(settings: Settings) -> bool:
    """Whether the network takes images of several sizes, as --multi-scale needs."""
    return True

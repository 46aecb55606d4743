"""Faster R-CNN (Ren et al. 2015): proposals on a feature pyramid, and a second stage that classifies and refines
them."""

import dataclasses

from kerastransfer.detectors import pyramid
from kerastransfer.detectors.detector import Detector, Purpose
from kerastransfer.errors import UserError
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
    """The detector. Raises UserError for an image size or an encoder that does not fit, and for a start, which it
    cannot have."""
    from kerastransfer.losses.faster_rcnn import WEIGHTS, faster_rcnn_loss
    from kerastransfer.models import faster_rcnn

    refuse_start(net, purpose)
    codec = faster_rcnn.faster_rcnn_codec(len(purpose.classes), size=settings.anchor_size)

    def make(encoder):
        return faster_rcnn.faster_rcnn(encoder, codec, **sizes(settings))

    def reading(network):
        return faster_rcnn.learner(network, codec, proposals=2 * settings.proposals, seed=purpose.seed)

    built = pyramid.detector(settings, purpose, codec, make, faster_rcnn_loss(codec), WEIGHTS)
    return dataclasses.replace(built, reading=reading)


def sizes(settings: Settings) -> dict:
    """The options of `models.faster_rcnn.faster_rcnn`."""
    return {name: getattr(settings, name) for name in ("channels", "hidden", "proposals")}


def refuse_start(net: str, purpose: Purpose) -> None:
    """Raises UserError if the purpose has a detector to start from."""
    if purpose.start is not None:
        source = purpose.start.source
        raise UserError(
            f"--model {net} cannot start from another detector; of {source} its encoder may fit: --net.encoder {source}"
        )


def any_size(settings: Settings) -> bool:
    """Whether the network takes images of several sizes, as --multi-scale needs."""
    return True

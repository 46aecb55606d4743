"""YOLOv1 (Redmon et al. 2016): one grid of cells over the encoder's last tap."""

import dataclasses
from typing import Literal

from kerastransfer.detectors.detector import Detector, Purpose, require_multiple
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive

NETS = {"small": 16, "fast_yolo": 64, "yolov1": 64}


@dataclasses.dataclass
class Settings:
    """Settings of a YOLOv1 detector."""

    loss: Literal["paper", "darknet", "author", "giou"] = "giou"
    """Loss: that of the paper, of Darknet, of the authors of the encoder transfer (docs/papers.md), or Darknet's with a
    GIoU term for the boxes."""
    reach: float = 1.0
    """A cell also learns objects whose centre is within this many cells of its border; 0 is one cell per object, as
    published."""
    head: Literal["fully_conv", "paper_fc", "darknet_local"] = "fully_conv"
    """Head: convolutions, which take any image size; the paper's dense layers; or Darknet's locally connected layer."""
    boxes_per_cell: int = 1
    """Boxes that each cell predicts."""
    sizes: Literal["cell", "image", "root"] = "root"
    """Unit of widths and heights: cells, fractions of the image (the paper), or roots of these fractions (Darknet)."""
    score: Literal["confidence", "product"] = "product"
    """Score of a box: its confidence, or confidence times class probability (Darknet)."""

    def __post_init__(self) -> None:
        require_positive(self, "boxes_per_cell", prefix="net.")
        if not 0 <= self.reach < float("inf"):
            raise UserError(f"--net.reach is {self.reach}; it must be at least 0")


def build(settings: Settings, net: str, purpose: Purpose) -> Detector:
    """The detector on one of `NETS`. Raises UserError for an image size that does not fit."""
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders.yolov1 import ACTIVATIONS, ENCODERS
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.yolov1 import yolov1

    stride = NETS[net]
    require_multiple(purpose.image_size, stride, net)
    codec = YoloV1Codec(
        purpose.classes,
        settings.boxes_per_cell,
        sizes=settings.sizes,
        layout="darknet" if settings.head == "darknet_local" else "cells",
        score=settings.score,
        reach=settings.reach,
    )

    def network():
        encoder = ENCODERS[net]()
        if settings.head == "fully_conv":
            return yolov1(encoder, codec, activation=ACTIVATIONS[net])
        return yolov1(encoder, codec, head=settings.head, grid=purpose.image_size // stride)

    return Detector(network, codec, yolov1_loss(codec, settings.loss), WEIGHTS, stride)


def any_size(settings: Settings) -> bool:
    """Whether the network takes images of several sizes, as --multi-scale needs."""
    return settings.head == "fully_conv"

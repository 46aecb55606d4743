"""YOLOv1 (Redmon et al. 2016): a single grid of cells on the encoder's last tap."""

import dataclasses
from typing import Literal

from kerastransfer.detectors.detector import STARTED, Detector, Purpose, Start, require_multiple
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive

NETS = {"small": 16, "fast_yolo": 64, "yolov1": 64}


@dataclasses.dataclass
class Settings:
    """Settings of a YOLOv1 detector."""

    encoder: str | None = None
    """An encoder to put the head on, instead of that of --model: a .keras file, such as RUN/models/encoder.keras, or
    the name of published weights (`kerastransfer presets` lists them)."""
    loss: Literal["paper", "darknet", "author", "giou"] = "giou"
    """Loss: that of the YOLOv1 paper (`paper`), of Darknet, of the code of ElSedfy 2025 (`author`), or Darknet's with a
    GIoU loss for the boxes (`giou`)."""
    reach: float = 1.0
    """A cell also learns objects whose centre is at most this many cells away from its border; with 0, each object is
    learnt by one cell, as published."""
    head: Literal["fully_conv", "paper_fc", "darknet_local"] = "fully_conv"
    """Head: convolutions, which take images of any size (`fully_conv`); the dense layers of the YOLOv1 paper
    (`paper_fc`); or Darknet's locally connected layer (`darknet_local`)."""
    boxes_per_cell: int = 1
    """Number of boxes that each cell predicts."""
    sizes: Literal["cell", "image", "root"] = "root"
    """Unit of the predicted widths and heights: cells (ElSedfy 2025), fractions of the image (the YOLOv1 paper), or
    square roots of these fractions (Darknet)."""
    score: Literal["confidence", "product"] = "product"
    """Score of a box: its confidence, or the product of confidence and class probability (Darknet)."""

    def __post_init__(self) -> None:
        require_positive(self, "boxes_per_cell", prefix="net.")
        if not 0 <= self.reach < float("inf"):
            raise UserError(f"--net.reach is {self.reach}; it must be at least 0")
        if self.encoder is not None and self.head != "fully_conv":
            raise UserError(f"--net.head {self.head} is for the encoders of the papers; leave out --net.encoder")


def build(settings: Settings, net: str, purpose: Purpose) -> Detector:
    """The detector on one of `NETS`, or on the encoder of the settings. Raises UserError for an image size that is not
    a multiple of the stride, for an encoder that cannot be opened, and if the purpose's start is not of this family, or
    was trained for another size and is limited to it."""
    if purpose.start is not None:
        return _started(settings, purpose.start, purpose)
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders import ENCODERS, taps
    from kerastransfer.encoders.yolov1 import ACTIVATIONS
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.yolov1 import yolov1

    given = settings.encoder
    stride = max(taps.strides(purpose.encoder(given)).values()) if given else NETS[net]
    require_multiple(purpose.image_size, stride, given or net)
    codec = YoloV1Codec(
        len(purpose.classes),
        settings.boxes_per_cell,
        sizes=settings.sizes,
        layout="darknet" if settings.head == "darknet_local" else "cells",
        score=settings.score,
        reach=settings.reach,
    )

    def network():
        if given:
            return yolov1(purpose.in_policy(given), codec, activation="relu")
        encoder = ENCODERS[net]()
        if settings.head == "fully_conv":
            return yolov1(encoder, codec, activation=ACTIVATIONS[net])
        return yolov1(encoder, codec, head=settings.head, grid=purpose.image_size // stride)

    loaded = ("encoder",) if given else ()
    return Detector(network, codec, yolov1_loss(codec, settings.loss), WEIGHTS, stride, loaded)


def _started(settings: Settings, start: Start, purpose: Purpose) -> Detector:
    """The detector `start` for the classes of `purpose`. Its net and what its predictions mean stay as they are."""
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders import taps
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.new_classes import with_classes

    start.require(YoloV1Codec, settings)
    start.refuse(settings, "encoder", "head", "boxes_per_cell", "sizes", "score")
    network = start.network()
    stride = max(taps.strides(network.get_layer("encoder")).values())
    require_multiple(purpose.image_size, stride, start.source)
    if None not in network.get_layer("head").input["c5"].shape[1:3] and start.image_size[0] != purpose.image_size:
        raise UserError(
            f"--start {start.source} takes images of {start.image_size[0]} x {start.image_size[1]} pixels only; give "
            f"--image-size {start.image_size[0]}"
        )
    codec = dataclasses.replace(start.codec, num_classes=len(purpose.classes), reach=settings.reach)

    def renewed():
        return with_classes(start.network(), start.codec, codec, start.labels, purpose.classes)

    terms = yolov1_loss(codec, settings.loss)
    return Detector(renewed, codec, terms, WEIGHTS, stride, STARTED, fresh=start.fresh(purpose.classes))


def any_size(settings: Settings) -> bool:
    """Whether the network takes images of several sizes, as --multi-scale needs."""
    return settings.head == "fully_conv"

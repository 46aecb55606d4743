"""To detect objects in boxes: a head of YOLOv1 (Redmon et al. 2016) on the encoder's last map. None of the papers
compares it with the other pretexts; it is what this package is for."""

import dataclasses

from kerastransfer.errors import UserError
from kerastransfer.pretexts.pretext import Pretext

FIELDS = ("boxes",)
DECODER = False


@dataclasses.dataclass
class Settings:
    """Settings of the detection."""

    reach: float = 0.5
    """A cell also learns objects whose centre is at most this many cells away from its border."""

    def __post_init__(self) -> None:
        if not 0 <= self.reach < float("inf"):
            raise UserError(f"--task.reach is {self.reach}; it must be at least 0")


def build(settings: Settings, encoder, data, everyone=None) -> Pretext:
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.yolov1 import yolov1

    codec = YoloV1Codec(len(data.classes), 1, sizes="root", score="product", reach=settings.reach)
    network = yolov1(encoder, codec, activation="relu")
    return Pretext(network, network, yolov1_loss(codec, "giou"), WEIGHTS)

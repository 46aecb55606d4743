"""To classify whole images."""

import dataclasses
import functools

from kerastransfer.errors import UserError
from kerastransfer.pretexts.pretext import Pretext

FIELDS = ("label",)
DECODER = False


@dataclasses.dataclass
class Settings:
    """Settings of the classification."""

    smoothing: float = 0.1
    """Label smoothing: share of the target that is spread over all classes."""

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise UserError(f"--task.smoothing is {self.smoothing}; it must be at least 0 and below 1")


def build(settings: Settings, encoder, data, everyone=None) -> Pretext:
    from kerastransfer.losses.labels import label_loss
    from kerastransfer.models.classifier import classifier

    network = classifier(encoder, len(data.image_classes), name="classification")
    terms = functools.partial(label_loss, smoothing=settings.smoothing)
    return Pretext(network, network, terms, {"cross_entropy": 1.0})

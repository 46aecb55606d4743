"""To segment other images, or other classes (Dippel et al. 2022, section 5.1)."""

import dataclasses

from kerastransfer.pretexts.pretext import Pretext

FIELDS = ("segmentation",)
DECODER = True


@dataclasses.dataclass
class Settings:
    """Settings of the segmentation."""

    dice: float = 1.0
    """Weight of the Dice loss, which is added to the cross-entropy."""

    def __post_init__(self) -> None:
        if self.dice < 0:
            from kerastransfer.errors import UserError

            raise UserError(f"--task.dice is {self.dice}; it must be at least 0")


def build(settings: Settings, encoder, data, everyone=None) -> Pretext:
    from kerastransfer.losses.pixels import pixel_loss
    from kerastransfer.models.segmenter import segmenter

    network = segmenter(encoder, "unet_plain", len(data.segmentation_classes), name="segmentation")
    return Pretext(network, network, pixel_loss, {"cross_entropy": 1.0, "dice": settings.dice})

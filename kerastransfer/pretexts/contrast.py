"""The flags of pretexts that compare views or restore colours."""

import dataclasses
from typing import Literal

from kerastransfer.flags import require_positive


@dataclasses.dataclass
class ColourSettings:
    """Settings of a pretext whose views differ in their colours."""

    colours: float = 1.0
    """Strength of the random changes of colours; 0 leaves colours as they are, and 1 is as published."""

    def __post_init__(self) -> None:
        if self.colours:
            require_positive(self, "colours", prefix="task.")


@dataclasses.dataclass
class ContrastSettings(ColourSettings):
    """Settings of a pretext that recognises the other view of an image."""

    temperature: float = 0.5
    """Temperature of the contrastive loss: similarities are divided by it."""
    pooling: Literal["average", "attention"] = "average"
    """How the encoder's last map becomes one vector: its average over all places, or an average weighted by what the
    network attends to (`attention`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "temperature", prefix="task.")

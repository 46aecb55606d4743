"""ConRec with four decoding tasks (Dippel et al. 2022, section 2.2): contrast, and to restore an altered image, its own
colours, where it was altered, and all but that."""

import dataclasses
from typing import Literal

from kerastransfer.pretexts.contrast import ContrastSettings
from kerastransfer.pretexts.pretext import Pretext
from kerastransfer.pretexts.two_views import two_views

FIELDS = ()
DECODER = True
FOUR = ("reconstruction", "colours", "altered", "blackened")


@dataclasses.dataclass
class Settings(ContrastSettings):
    """Settings of ConRec."""

    pooling: Literal["average", "attention"] = "attention"
    """How the encoder's last map becomes one vector: its average over all places, or an average weighted by what the
    network attends to (`attention`, as published)."""


def build(settings: Settings, encoder, data, everyone=None, *, tasks=FOUR) -> Pretext:
    return two_views(
        encoder,
        tasks=tasks,
        contrast=settings.pooling,
        temperature=settings.temperature,
        colours=settings.colours,
        everyone=everyone,
    )

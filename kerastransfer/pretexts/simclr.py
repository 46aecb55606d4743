"""SimCLR (Chen et al. 2020): to recognise another view of the same image."""

import dataclasses

from kerastransfer.pretexts.contrast import ContrastSettings
from kerastransfer.pretexts.pretext import Pretext
from kerastransfer.pretexts.two_views import two_views

FIELDS = ()
DECODER = False


@dataclasses.dataclass
class Settings(ContrastSettings):
    """Settings of SimCLR."""


def build(settings: Settings, encoder, data, everyone=None) -> Pretext:
    return two_views(
        encoder,
        contrast=settings.pooling,
        temperature=settings.temperature,
        colours=settings.colours,
        everyone=everyone,
    )

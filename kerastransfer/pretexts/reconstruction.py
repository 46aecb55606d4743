"""To restore an altered image (Models Genesis, Zhou et al. 2019, in two dimensions; the baseline of Dippel et al.
2022)."""

import dataclasses

from kerastransfer.pretexts.contrast import ColourSettings
from kerastransfer.pretexts.pretext import Pretext
from kerastransfer.pretexts.two_views import two_views

FIELDS = ()
DECODER = True


@dataclasses.dataclass
class Settings(ColourSettings):
    """Settings of the reconstruction."""


def build(settings: Settings, encoder, data, everyone=None) -> Pretext:
    return two_views(encoder, tasks=("reconstruction",), colours=settings.colours)

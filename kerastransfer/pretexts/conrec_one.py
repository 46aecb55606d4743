"""ConRec as first published, with one decoding task (Dippel et al. 2021): contrast, and to restore an altered image."""

import dataclasses

from kerastransfer.pretexts import conrec
from kerastransfer.pretexts.pretext import Pretext

FIELDS = ()
DECODER = True


@dataclasses.dataclass
class Settings(conrec.Settings):
    """Settings of ConRec with one decoding task."""


def build(settings: Settings, encoder, data, everyone=None) -> Pretext:
    return conrec.build(settings, encoder, data, everyone, tasks=conrec.FOUR[:1])

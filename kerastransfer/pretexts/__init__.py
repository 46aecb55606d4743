"""What an encoder may learn first, before it is transferred to segmentation. Each is a module with

    FIELDS                                 what the images must be annotated with; () for learning without labels
    DECODER                                whether a decoder learns with the encoder, and can be transferred too
    Settings                               a dataclass: the flags of the pretext (--task.NAME)
    build(settings, encoder, data, everyone=None)
                                           the `Pretext`, on an encoder and the training images; `everyone` gathers rows
                                           from all replicas (`losses.contrastive.Everyone`)

None of them imports Keras before `build`. To add a pretext, write its module and add a row here.
"""

from types import ModuleType

from kerastransfer.errors import UserError
from kerastransfer.flags import nearest
from kerastransfer.pretexts import (
    classification,
    conrec,
    conrec_one,
    detection,
    reconstruction,
    segmentation,
    simclr,
)

PRETEXTS = {
    "simclr": simclr,
    "reconstruction": reconstruction,
    "conrec": conrec,
    "conrec_one": conrec_one,
    "segmentation": segmentation,
    "classification": classification,
    "detection": detection,
}
SETTINGS = {name: module.Settings for name, module in PRETEXTS.items()}


def pretext(name: str) -> ModuleType:
    """The module of a pretext. Raises UserError for an unknown one."""
    if name not in PRETEXTS:
        raise UserError(f"unknown --pretext {name}; choose {', '.join(PRETEXTS)} (nearest: {nearest(name, PRETEXTS)})")
    return PRETEXTS[name]


def settings_of(name: str) -> type:
    """The class of the settings of a pretext. Raises UserError for an unknown one."""
    return pretext(name).Settings

"""The families of detectors. Each is a module with

    NETS                            {name of a net: its largest stride in pixels}
    Settings                        a dataclass: the flags of the family (--net.NAME); raises UserError for bad values
    build(settings, net, purpose)   a Detector for the classes, image size and training images of `purpose`
    any_size(settings)              whether the network takes images of several sizes
    TASK                            "instances", if it learns from masks and predicts them; may be left out

None of them imports Keras before `build`. To add a family, write its module and add a row here.
"""

from pathlib import Path
from types import ModuleType

from kerastransfer import presets
from kerastransfer.detectors import faster_rcnn, fcos, mask_rcnn, retinanet, yolov1, yolov3
from kerastransfer.errors import UserError
from kerastransfer.flags import nearest

DETECTORS = {
    "yolov1": yolov1,
    "yolov3": yolov3,
    "retinanet": retinanet,
    "fcos": fcos,
    "faster_rcnn": faster_rcnn,
    "mask_rcnn": mask_rcnn,
}
SETTINGS = {name: family.Settings for name, family in DETECTORS.items()}
FAMILY = {net: name for name, family in DETECTORS.items() for net in family.NETS}


def family(net: str) -> ModuleType:
    """The module of the family that a net belongs to. Raises UserError for an unknown net."""
    if net not in FAMILY:
        if Path(net).suffix in (".keras", ".tflite") or Path(net).name != net or net in presets.DETECTORS:
            raise UserError(
                f"unknown --model {net}; give a trained detector as --start {net}, and here a net of its family: "
                f"{', '.join(FAMILY)}"
            )
        raise UserError(f"unknown --model {net}; choose {', '.join(FAMILY)} (nearest: {nearest(net, FAMILY)})")
    return DETECTORS[FAMILY[net]]


def settings_of(net: str) -> type:
    """The class of the settings of a net. Raises UserError for an unknown net."""
    return family(net).Settings


def task_of(net: str) -> str:
    """What a net predicts, "detection" or "instances". Raises UserError for an unknown net."""
    return getattr(family(net), "TASK", "detection")


def field_of(net: str) -> str:
    """What the images must be annotated with that a net learns from and is scored on, "boxes" or "masks"."""
    # Imports NumPy, which --help does without.
    from kerastransfer.tasks import TASKS

    return TASKS[task_of(net)].FIELD

"""The studies of two models: what did the first learn that the second did not (Li et al. 2019)? Each is a module with

    TITLE                                  of its section in the report
    NEEDS                                  the class of `analysis.material` that it reads
    Settings                               a dataclass: the flags of the study (--STUDY.NAME)
    study(settings, material, progress)    its `analysis.findings.Findings`; raises `LeftOut` where the material does
                                           not have what the study is about. progress: wraps a loop, as in
                                           `for one in progress(many)`

None of them imports Keras; what needs a model is given as a function. To add a study, write its module and add a row
here.
"""

from types import ModuleType

from kerastransfer import flags
from kerastransfer.analysis import (
    activation,
    classification,
    co_assignment,
    detection,
    detection_errors,
    embedding,
    image_probes,
    mask_out,
    nearest,
    occlusion,
    segmentation,
    trimap,
)
from kerastransfer.errors import UserError

# In the order of the paper.
STUDIES = {
    "detection": detection,
    "occlusion": occlusion,
    "errors": detection_errors,
    "segmentation": segmentation,
    "trimap": trimap,
    "classification": classification,
    "probes": image_probes,
    "co_assignment": co_assignment,
    "nearest": nearest,
    "embedding": embedding,
    "activation": activation,
    "mask_out": mask_out,
}


def study(name: str) -> ModuleType:
    """The module of a study. Raises UserError for an unknown one."""
    if name not in STUDIES:
        near = flags.nearest(name, STUDIES)
        raise UserError(f"unknown --study {name}; choose {', '.join(STUDIES)} (nearest: {near})")
    return STUDIES[name]

"""The phase that trains a detector on boxes and keeps its encoder."""

import dataclasses
from typing import ClassVar

from kerastransfer import detectors
from kerastransfer.detectors.detector import Purpose
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.runs import fitting, outcome
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import one_of
from kerastransfer.tasks.about import About


@dataclasses.dataclass
class DetectorConfig(fitting.TrainingConfig):
    """The flags of all recipes that train a detector."""

    CHOSEN: ClassVar = {**fitting.TrainingConfig.CHOSEN, "net": ("model", detectors.settings_of)}

    model: str = "small"
    """The detector's net: small, fast_yolo or yolov1 (YOLOv1 on the small encoder of this package, on that of Fast
    YOLO, or on the published one); yolov3-tiny, yolov3-small, yolov3 or yolov3-spp."""
    net: one_of(detectors.SETTINGS) = None
    """Settings of the family that --model belongs to."""
    multi_scale: bool = False
    """Train on inputs of about 3/4 to 5/4 of --image-size, changing the size every ten steps (YOLO9000, Redmon and
    Farhadi 2017); the last eighth of the epochs uses only --image-size."""
    detector_epochs: int = 120
    """Number of epochs to train the detector for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "detector_epochs")
        if self.multi_scale:
            if self.jit or self.strategy == "data_parallel":
                compiled = "--jit" if self.jit else "--strategy data_parallel"
                raise UserError(f"--multi-scale would make {compiled} compile every size; leave one of them out")
            if not detectors.family(self.model).any_size(self.net):
                raise UserError("--multi-scale needs a network that takes several sizes; use --net.head fully_conv")


def detector(config: DetectorConfig, run: RunFolder, data: Data, result: outcome.Outcome) -> str:
    """Train, score and export a detector; returns NAME of its file, models/NAME.keras.

    Its encoder is kept as models/encoder.keras, which other recipes take as --encoder.
    """
    from kerastransfer.training import strategy

    train, test = data.parts["boxes"]
    name, family = detectors.FAMILY[config.model], detectors.family(config.model)
    purpose = Purpose(len(data.dataset.classes), config.image_size, train, config.resize, config.seed)
    built = family.build(config.net, config.model, purpose)

    def work():
        with strategy.scope(config.strategy):
            network = built.build()
            objective = fitting.Objective(
                network,
                built.terms,
                built.weights,
                fields=("boxes",),
                epochs=config.detector_epochs,
                learning_rate=config.learning_rate,
                mosaic=config.mosaic,
                sides=fitting.sides(config.image_size, built.stride) if config.multi_scale else (),
            )
            fitting.fit(objective, train, config, run, "detector")
        if run.leads:
            size = (config.image_size, config.image_size)
            outcome.keep_part(run, "encoder", network.get_layer("encoder"))
            outcome.keep(run, name, network, About("detection", data.dataset.classes, size, config.resize, built.codec))
        return {}

    fitting.phase(config, run, "detector", work)
    result.score(name, "detection", test)
    result.export(name, train, test)
    return name

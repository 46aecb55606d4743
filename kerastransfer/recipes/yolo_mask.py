"""YOLO-Mask: a YOLOv3 detector, trained on boxes, gets a branch that predicts a mask in each box.

    python -m kerastransfer.recipes.yolo_mask --config recipes/yolo_mask/penn_fudan.toml --data DIR/PennFudanPed

First the detector is trained (or read from --detector), then the mask branch, with the detector frozen
(docs/yolo_mask.md). --together trains both from the first step, best from published weights (--start yolov3-tiny).
--end-to-end-epochs continues by training both together, which YOLO-Mask (section 4) reports to be
unstable. The scores are those of the boxes (AP) and of the masks (mask_AP).
"""

import dataclasses
from typing import ClassVar

from kerastransfer.errors import UserError
from kerastransfer.phases.detector import detector
from kerastransfer.phases.mask_branch import MaskConfig, mask_branch, together
from kerastransfer.runs import command_line, grid, trained
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = "A detector was trained on boxes, and was frozen while a branch learnt to predict a mask in each of its boxes."
LEAD_TOGETHER = "A detector, and a branch that predicts a mask in each of its boxes, were trained together."


@dataclasses.dataclass
class Config(MaskConfig):
    """Train a YOLOv3 detector on boxes, freeze it, and train its mask branch."""

    TOY: ClassVar = {
        "model": "yolov3-small",
        "image_size": 128,
        "mosaic": 0.0,
        "scale": [0.7, 1.2],
        "learning_rate": 4e-3,
        "detector_epochs": 18,
        "mask_filters": 32,
        "mask_convs": 2,
        "fine": ["c2"],
        "proposals": 12,
        "detections": 20,
        "mask_learning_rate": 4e-3,
        "mask_epochs": 8,
        "net": {"loss": "ciou", "reach": 0.5},
    }

    detector: str | None = None
    """The yolov3.keras file of a trained detector, or the name of published weights (`kerastransfer presets`), which
    stays as it is; by default a detector is trained first."""
    export: bool = True
    """Export SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detector:
            trained.require(self.detector, "--detector")
            if self.together or self.start:
                other = "--together" if self.together else "--start"
                raise UserError(f"--detector keeps a detector as it is, but {other} trains it; leave one of them out")
        if self.together and self.end_to_end_epochs:
            raise UserError("--end-to-end-epochs continues after the mask branch alone; leave it out with --together")


def main(config: Config) -> dict:
    """Run the recipe; returns {"yolov3": {metric: value}, "yolo_mask": {metric: value}}."""
    return grid.over_seeds("yolo_mask", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    data = load_data(config, "boxes", "masks")
    if config.together:
        result = Outcome(config, run, data, LEAD_TOGETHER)
        together("yolo_mask", config, run, data, result)
        return result
    result = Outcome(config, run, data, LEAD)
    if not config.detector:
        detector(config, run, data, result)
    path = config.detector or run.models / "yolov3.keras"
    mask_branch("yolo_mask", path, config, run, data, result)
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

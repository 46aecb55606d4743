"""YOLO-Mask: a YOLOv3 detector, trained on boxes, gets a branch that predicts a mask in each box.

    python -m kerastransfer.recipes.yolo_mask --config recipes/yolo_mask/penn_fudan.toml --data DIR/PennFudanPed

First the detector is trained (or read from --detector), then the mask branch, with the detector frozen
(docs/yolo_mask.md). --end-to-end-epochs continues by training both together, which YOLO-Mask (section 4) reports to be
unstable. The scores are those of the boxes (AP) and of the masks (mask_AP).
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from kerastransfer.errors import UserError
from kerastransfer.phases.detector import detector
from kerastransfer.phases.mask_branch import MaskConfig, mask_branch
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = "A detector was trained on boxes, and was frozen while a branch learnt to predict a mask in each of its boxes."


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
    """The yolov3.keras file of a trained detector; by default a detector is trained first."""
    export: bool = True
    """Export SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detector and not Path(self.detector).is_file():
            raise UserError(f"--detector {self.detector}: no such file; give RUN/models/yolov3.keras")


def main(config: Config) -> dict:
    """Run the recipe; returns {"yolov3": {metric: value}, "yolo_mask": {metric: value}}."""
    return grid.over_seeds("yolo_mask", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    data = load_data(config, "boxes", "masks")
    result = Outcome(config, run, data, LEAD)
    path = Path(config.detector) if config.detector else run.models / "yolov3.keras"
    if not config.detector:
        detector(config, run, data, result)
    mask_branch("yolo_mask", path, config, run, data, result)
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

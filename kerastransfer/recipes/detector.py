"""An object detector trained on boxes: YOLOv1, YOLOv3, RetinaNet, FCOS or Faster R-CNN; or Mask R-CNN, on masks.

    python -m kerastransfer.recipes.detector --data DIR/PennFudanPed
    python -m kerastransfer.recipes.detector --model yolov3-small --net.loss ciou --data DIR/PennFudanPed
    python -m kerastransfer.recipes.detector --model mask_rcnn --net.encoder mobilenet-v2 --data DIR/PennFudanPed

The recipe writes the detector, its encoder (models/encoder.keras, which other recipes take as --encoder), its scores on
the test images, the exported files and the report to saved_models/detector-PennFudanPed.
"""

import dataclasses
from typing import ClassVar

from kerastransfer import detectors
from kerastransfer.phases.detector import DetectorConfig, detector
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEADS = {
    "detection": "A detector was trained on boxes.",
    "instances": "A detector that predicts a mask in each of its boxes was trained on masks.",
}


@dataclasses.dataclass
class Config(DetectorConfig):
    """Train an object detector on boxes."""

    TOY: ClassVar = {
        "model": "yolov3-small",
        "image_size": 128,
        "mosaic": 0.0,
        "scale": [0.7, 1.2],
        "learning_rate": 4e-3,
        "detector_epochs": 18,
        "net": {"loss": "ciou", "reach": 0.5},
    }

    export: bool = True
    """Export SavedModel and LiteRT files, and check them against the Keras model."""


def main(config: Config) -> dict:
    """Run the recipe; returns {"yolov1", "retinanet", ...: {metric: value}}."""
    return grid.over_seeds("detector", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    result = Outcome(
        config, run, load_data(config, detectors.field_of(config.model)), LEADS[detectors.task_of(config.model)]
    )
    detector(config, run, result.data, result)
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

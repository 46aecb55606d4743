"""An object detector trained on boxes: YOLOv1 or a net of YOLOv3's family.

    python -m kerastransfer.recipes.detector --data DIR/PennFudanPed
    python -m kerastransfer.recipes.detector --model yolov3-small --net.loss ciou --data DIR/PennFudanPed

The recipe writes the detector, its encoder (models/encoder.keras, which other recipes take as --encoder), its scores on
the test images, the exported files and the report to saved_models/detector-PennFudanPed.
"""

import dataclasses
from typing import ClassVar

from kerastransfer.phases.detector import DetectorConfig, detector
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome


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
    """Run the recipe; returns {"yolov1" or "yolov3": {metric: value}}."""
    return grid.over_seeds("detector", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    result = Outcome(config, run, load_data(config, "boxes"), "A detector was trained on boxes.")
    detector(config, run, result.data, result)
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

"""Step 1 of LabelEnc: a label encoder, trained together with a detector's head.

    python -m kerastransfer.recipes.labelenc_step1
    python -m kerastransfer.recipes.labelenc_step1 --model retinanet --net.encoder mobilenet-v2 --data DIR/PennFudanPed

The head learns to find the objects in what the label encoder makes of their boxes, and in the features of the images,
which are drawn towards it (docs/labelenc.md). models/labelenc.keras is what labelenc_step2 takes as --labelenc.
"""

import dataclasses
from typing import ClassVar

from kerastransfer.phases import labelenc
from kerastransfer.phases.labelenc import LabelEncConfig
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = "A label encoder was trained together with the head of a detector, which learnt beside it."
# Of all recipes with a label encoder.
TOY = {
    "model": "yolov3-small",
    "image_size": 128,
    "mosaic": 0.0,
    "scale": [0.7, 1.2],
    "learning_rate": 4e-3,
    "detector_epochs": 5,
    "step1_epochs": 5,
    "net": {"loss": "ciou", "reach": 0.5},
}


@dataclasses.dataclass
class Config(LabelEncConfig):
    """Train a label encoder together with a detector's head."""

    TOY: ClassVar = TOY

    export: bool = True
    """Export the detector that learnt beside the label encoder as SavedModel and LiteRT files, and check them."""


def main(config: Config) -> dict:
    """Run the recipe; returns {"labelenc_detector": {metric: value}}."""
    return grid.over_seeds("labelenc_step1", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    data = load_data(config, *labelenc.fields(config))
    result = Outcome(config, run, data, LEAD)
    labelenc.step1("labelenc", config, run, data, result)
    result.export("labelenc_detector", *labelenc.split(config, data))
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

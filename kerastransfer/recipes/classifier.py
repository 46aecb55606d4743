"""A classifier of whole images, trained on an encoder of its own or on that of a detector.

    python -m kerastransfer.recipes.classifier --data DIR
    python -m kerastransfer.recipes.classifier --data DIR --encoder RUN/models/encoder.keras --freeze full

DIR has a folder of images per class, alone or in train/ and test/. Data with boxes serves as well: the class of an
image is then that of its largest object. Writes the classifier, its encoder, accuracy and confusions on the test
images, the exported files and the report.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from kerastransfer.errors import UserError
from kerastransfer.phases.classifier import ClassifierConfig, classifier
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome


@dataclasses.dataclass
class Config(ClassifierConfig):
    """Train a classifier of whole images."""

    model: Literal["small", "fast_yolo", "yolov1"] = "small"
    """The encoder to train from random weights, where --encoder gives none."""
    encoder: str | None = None
    """A .keras file with an encoder to start from, such as RUN/models/encoder.keras or a detector."""
    export: bool = True
    """Write SavedModel and LiteRT files, and check them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze != "none" and self.encoder is None:
            raise UserError(f"--freeze {self.freeze} would keep the random weights of the encoder; give --encoder")


def main(config: Config) -> dict:
    """Run the recipe; returns {"classifier": {metric: value}}."""
    return grid.over_seeds("classifier", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    start = "the encoder of a trained model" if config.encoder else "random weights"
    result = Outcome(config, run, load_data(config, "label"), f"A classifier was trained from {start}.")
    classifier("classifier", Path(config.encoder) if config.encoder else config.model, config, run, result.data, result)
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

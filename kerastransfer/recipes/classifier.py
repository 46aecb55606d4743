"""A classifier of whole images, trained from random weights or on the encoder of a detector.

    python -m kerastransfer.recipes.classifier --data DIR
    python -m kerastransfer.recipes.classifier --data DIR --encoder RUN/models/encoder.keras --freeze full

DIR has a folder of images for each class, either directly or in train/ and test/. Data with boxes works as well: the
class of an image is then that of its largest object. The recipe writes the classifier, its encoder, its accuracy and
confusion matrix on the test images, the exported files and the report.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from kerastransfer.errors import UserError
from kerastransfer.phases.classifier import ClassifierConfig, classifier
from kerastransfer.runs import command_line, grid, trained
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome


@dataclasses.dataclass
class Config(ClassifierConfig):
    """Train a classifier of whole images."""

    TOY: ClassVar = {
        "image_size": 112,
        "scale": [0.7, 1.2],
        "learning_rate": 4e-3,
        "classifier_epochs": 16,
    }

    model: Literal["small", "fast_yolo", "yolov1", "resnet18", "resnet34", "resnet50", "resnet101"] = "small"
    """The encoder to train from random weights; it is ignored if --encoder is given (--encoder resnet-50 has weights of
    ImageNet)."""
    encoder: str | None = None
    """A .keras file with an encoder to start from, such as RUN/models/encoder.keras or a detector; or the name of
    published weights, such as yolov3-tiny (`kerastransfer presets` lists them), or hub:NAME for a backbone of
    keras-hub."""
    export: bool = True
    """Export SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze != "none" and self.encoder is None:
            raise UserError(f"--freeze {self.freeze} would freeze an encoder with random weights; give --encoder")
        if self.encoder:
            trained.require_encoder(self.encoder)


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

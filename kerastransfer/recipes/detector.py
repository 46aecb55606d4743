"""A YOLOv1 detector, trained on boxes: the encoder that the other recipes start from.

    python -m kerastransfer.recipes.detector --data DIR/PennFudanPed

Writes the detector, its encoder (`models/encoder.npz`, for `yolo_segnet --encoder`), its score on the test images, the
exported files and the report to saved_models/detector-PennFudanPed.
"""

import dataclasses
from typing import Literal

from kerastransfer.errors import UserError
from kerastransfer.recipes import config as configs
from kerastransfer.recipes import outcome, training
from kerastransfer.recipes.run_folder import RunFolder

STRIDES = {"small": 16, "fast_yolo": 64, "yolov1": 64}  # said here too, so that --help needs no Keras


@dataclasses.dataclass
class DetectorConfig(training.TrainingConfig):
    """Flags of every recipe that trains a detector."""

    model: Literal["small", "fast_yolo", "yolov1"] = "small"
    """The encoder: ours for two cores, Fast YOLO's 9 convolutions, YOLOv1's 24."""
    head: Literal["fully_conv", "paper_fc", "darknet_local"] = "fully_conv"
    """Convolutions (paper A), YOLOv1's dense layers, or Darknet's locally connected one."""
    boxes_per_cell: int = 1
    """Boxes that each cell of the grid predicts."""
    sizes: Literal["cell", "image", "root"] = "root"
    """Unit of predicted widths and heights: cells (paper A), the image (YOLOv1), roots of its fractions (Darknet)."""
    score: Literal["confidence", "product"] = "product"
    """Of a box: its confidence (paper A), or confidence times class (Darknet)."""
    reach: float = 1.0
    """Cells whose border is this near to an object's centre learn it too; 0 is YOLOv1's one cell for an object."""
    loss: Literal["paper", "darknet", "author", "giou"] = "giou"
    """Whose reading of YOLOv1's loss: the paper's, Darknet's, paper A's author's, or Darknet's with a GIoU term."""
    detector_epochs: int = 120
    """Epochs of the detector."""

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_positive(self, "boxes_per_cell", "detector_epochs")
        stride = STRIDES[self.model]
        if self.image_size % stride:
            near = max(stride, round(self.image_size / stride) * stride)
            raise UserError(
                f"--image-size {self.image_size} is no multiple of {stride}, the stride of {self.model}: try {near}"
            )


@dataclasses.dataclass
class Config(DetectorConfig):
    """Train a YOLOv1 detector on boxes."""

    export: bool = True
    """Write SavedModel and LiteRT files, and check them."""


def main(config: Config) -> dict:
    """Run the recipe; returns {"yolov1": {metric: value}}."""
    return outcome.over_seeds("detector", config, once)


def once(config: Config, run: RunFolder) -> outcome.Outcome:
    """One seed."""
    data = training.load_data(config, "boxes")
    result = outcome.Outcome(config, run, data)
    detector(config, run, data, result)
    return result


def detector(config: DetectorConfig, run: RunFolder, data: training.Data, result: outcome.Outcome) -> None:
    """Train, score, export: the phase that the segmentation recipes begin with as well."""
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders.yolov1 import ACTIVATIONS, ENCODERS, tap_strides
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.yolov1 import yolov1
    from kerastransfer.training import strategy, transfer

    train, test = data.parts["boxes"]
    codec = YoloV1Codec(
        len(data.dataset.classes),
        config.boxes_per_cell,
        sizes=config.sizes,
        layout="darknet" if config.head == "darknet_local" else "cells",
        score=config.score,
        reach=config.reach,
    )

    def build():
        encoder = ENCODERS[config.model]()
        if config.head == "fully_conv":
            return yolov1(encoder, codec, activation=ACTIVATIONS[config.model])
        return yolov1(encoder, codec, head=config.head, grid=config.image_size // tap_strides(encoder)["c5"])

    def work():
        with strategy.scope(config.strategy):
            network = build()
            training.fit(
                network,
                yolov1_loss(codec, config.loss),
                WEIGHTS,
                train,
                config,
                run,
                phase="detector",
                fields=("boxes",),
                epochs=config.detector_epochs,
                learning_rate=config.learning_rate,
                mosaic=config.mosaic,
            )
        if run.leads:
            transfer.save(network.get_layer("encoder"), run.models / "encoder.npz")
            outcome.keep(run, network, "yolov1", "detection", data.dataset.classes, config.image_size, codec)
        return {}

    training.phase(config, run, "detector", work)
    result.score("yolov1", "detection", test)
    result.export("yolov1", train, test)


if __name__ == "__main__":
    configs.run(main, Config)

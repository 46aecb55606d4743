"""A detector of YOLOv1 or YOLOv3, trained on boxes: the encoder that the other recipes start from.

    python -m kerastransfer.recipes.detector --data DIR/PennFudanPed
    python -m kerastransfer.recipes.detector --model yolov3-small --loss ciou --data DIR/PennFudanPed

Writes the detector, its encoder (`models/encoder.npz`, for `yolo_segnet --encoder`), its score on the test images, the
exported files and the report to saved_models/detector-PennFudanPed.
"""

import dataclasses
from typing import Literal

from kerastransfer.detectors import families
from kerastransfer.errors import UserError
from kerastransfer.runs import fitting, outcome, settings
from kerastransfer.runs.folder import RunFolder

Model = Literal["small", "fast_yolo", "yolov1", "yolov3-tiny", "yolov3-small", "yolov3", "yolov3-spp"]


@dataclasses.dataclass
class DetectorConfig(fitting.TrainingConfig):
    """Flags of every recipe that trains a detector."""

    model: Model = "small"
    """YOLOv1 on our encoder for two cores, on Fast YOLO's 9 convolutions or its 24; or a net of YOLOv3's family."""
    loss: Literal["paper", "darknet", "author", "giou", "ciou"] = "giou"
    """Whose reading of the loss: for YOLOv1 the paper's, Darknet's, paper A's author's, or Darknet's with a GIoU term;
    for YOLOv3 Darknet's, or with GIoU or CIoU in place of its squares."""
    reach: float = 1.0
    """Cells whose border is this near to an object's centre learn it too; 0 is one cell for an object, as published."""
    head: Literal["fully_conv", "paper_fc", "darknet_local"] = "fully_conv"
    """YOLOv1: convolutions (paper A), its dense layers, or Darknet's locally connected one."""
    boxes_per_cell: int = 1
    """YOLOv1: boxes that each cell of the grid predicts."""
    sizes: Literal["cell", "image", "root"] = "root"
    """YOLOv1: unit of widths and heights: cells (paper A), the image (YOLOv1), roots of its fractions (Darknet)."""
    score: Literal["confidence", "product"] = "product"
    """YOLOv1: a box's score is its confidence (paper A), or confidence times class (Darknet)."""
    cfg: str | None = None
    """YOLOv3: a Darknet cfg file of your own, in place of the net of --model."""
    width: float = 1.0
    """YOLOv3: factor of the number of filters; two cores are suited by 0.5 of yolov3-tiny, 1 of yolov3-small."""
    activation: Literal["relu6", "leaky"] = "relu6"
    """YOLOv3: Darknet's is leaky; relu6 loses less in an int8 file."""
    anchors: tuple[float, ...] = ()
    """YOLOv3: width and height of each, in pixels of the input, small ones first; by itself fitted to the data."""
    ratio: float = 4.0
    """YOLOv3: an anchor learns an object whose sides differ from its own by less than this factor, and the nearest one
    does in any case; 0: the nearest alone, as published."""
    ignore: float = 0.7
    """YOLOv3: what overlaps an object by more than this is not taught to be background."""
    multi_scale: bool = False
    """Train on inputs of about three to five quarters of --image-size, another every ten steps (YOLOv2, YOLOv3); the
    last eighth of the epochs sees --image-size alone."""
    detector_epochs: int = 120
    """Epochs of the detector."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.require_positive(self, "boxes_per_cell", "detector_epochs", "width")
        family = families.family(self.model)
        if self.loss not in families.LOSSES[family]:
            choice = ", ".join(families.LOSSES[family])
            raise UserError(f"--loss {self.loss} is none of --model {self.model}: choose {choice}")
        if family == "yolov3" and not 0 <= self.reach <= 1:
            raise UserError(f"--reach {self.reach}: --model {self.model} takes 0 to 1 cells")
        if len(self.anchors) % 2 or not all(0 < side < float("inf") for side in self.anchors):
            raise UserError(f"--anchors has {len(self.anchors)} numbers: give a width and a height, above 0, for each")
        if self.anchors and (self.cfg or family != "yolov3"):
            owner = f"--cfg {self.cfg}, which has its own" if self.cfg else f"--model {self.model}, which has none"
            raise UserError(f"--anchors does not go with {owner}: leave it out")
        if self.cfg and family != "yolov3":
            raise UserError(f"--cfg needs --model yolov3, and got {self.model}: the cfg takes the place of its net")
        stride = families.STRIDES[self.model]
        if self.image_size % stride and not self.cfg:
            near = max(stride, round(self.image_size / stride) * stride)
            raise UserError(
                f"--image-size {self.image_size} is no multiple of {stride}, the stride of {self.model}: try {near}"
            )
        if self.multi_scale:
            if self.jit or self.strategy == "data_parallel":
                compiled = "--jit" if self.jit else "--strategy data_parallel"
                raise UserError(f"--multi-scale would have {compiled} compile every size: leave one of them out")
            if family == "yolov1" and self.head != "fully_conv":
                raise UserError(f"--head {self.head} knows one size of grid: --multi-scale needs --head fully_conv")


@dataclasses.dataclass
class Config(DetectorConfig):
    """Train a YOLOv1 or YOLOv3 detector on boxes."""

    export: bool = True
    """Write SavedModel and LiteRT files, and check them."""


def main(config: Config) -> dict:
    """Run the recipe; returns {"yolov1" or "yolov3": {metric: value}}."""
    return outcome.over_seeds("detector", config, once)


def once(config: Config, run: RunFolder) -> outcome.Outcome:
    """One seed."""
    data = fitting.load_data(config, "boxes")
    result = outcome.Outcome(config, run, data)
    detector(config, run, data, result)
    return result


def detector(config: DetectorConfig, run: RunFolder, data: fitting.Data, result: outcome.Outcome) -> None:
    """Train, score, export: the phase that the segmentation recipes begin with as well."""
    from kerastransfer.training import strategy, transfer

    train, test = data.parts["boxes"]
    name = families.family(config.model)
    method = families.method(config, len(data.dataset.classes), train)

    def work():
        with strategy.scope(config.strategy):
            network = method.build()
            objective = fitting.Objective(
                network,
                method.terms,
                method.weights,
                fields=("boxes",),
                epochs=config.detector_epochs,
                learning_rate=config.learning_rate,
                mosaic=config.mosaic,
                sides=fitting.sides(config.image_size, method.stride) if config.multi_scale else (),
            )
            fitting.fit(objective, train, config, run, "detector")
        if run.leads:
            transfer.save(network.get_layer("encoder"), run.models / "encoder.npz")
            outcome.keep(
                run,
                network,
                name,
                "detection",
                data.dataset.classes,
                config.image_size,
                method.codec,
                resize=config.resize,
            )
        return {}

    fitting.phase(config, run, "detector", work)
    result.score(name, "detection", test)
    result.export(name, train, test)


if __name__ == "__main__":
    settings.run(main, Config)

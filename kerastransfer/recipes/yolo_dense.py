"""Dense inference with a trained detector: a map of objects, learnt without a single mask.

    python -m kerastransfer.recipes.yolo_dense --detector RUN/models/yolov1.keras --data DIR/PennFudanPed

The detector keeps its weights but gets other strides (removed, or replaced with dilation), and the box predicted at
each location adds its score to the pixels inside (box voting; docs/dense.md). Thresholds are chosen by the boxes of
training images; pixel AUC and IoU are measured on the true masks of the test images. The resulting segmenter,
models/yolo_dense.keras, is exported.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from kerastransfer import detectors
from kerastransfer.errors import UserError
from kerastransfer.flags import flag, require_positive
from kerastransfer.phases import dense_maps, from_boxes
from kerastransfer.phases.detector import DetectorConfig, detector
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = (
    "A detector was trained on boxes; its predictions at every few pixels were read as a map, with thresholds chosen "
    "by boxes and without a single mask."
)


@dataclasses.dataclass
class Config(DetectorConfig):
    """Evaluate a trained detector densely: objectness, box votes, and a segmenter from boxes alone."""

    TOY: ClassVar = {
        "image_size": 112,
        "mosaic": 0.0,
        "scale": [0.7, 1.2],
        "learning_rate": 4e-3,
        "detector_epochs": 16,
        "output_strides": [16, 8],
        "net": {"reach": 0.5},
    }

    detector: str | None = None
    """The yolov1.keras file of a trained detector, whose image size is used; by default a detector is trained first."""
    output_strides: tuple[int, ...] = (16, 8, 4)
    """Distances in pixels between the predictions of the dilated network: powers of two, from the stride of the trained
    grid down to 1."""
    stride_removed: bool = False
    """Also evaluate the network with all strides removed and nothing dilated (ElSedfy 2025, section III-B); this is as
    expensive as output stride 1."""
    segmenter_stride: int = 8
    """Output stride, in pixels, of the segmenter models/yolo_dense.keras."""
    tile: int = 0
    """Side in pixels of tiles that are computed one at a time, which limits the use of memory; 0 computes each image as
    a whole."""
    threshold_images: int = 24
    """Number of training images whose boxes are used to choose the thresholds."""
    beside: tuple[str, ...] = ()
    """Other segmenters (.keras or .tflite files) to score on the same images."""
    pictures: int = 6
    """Number of test images whose maps are written to predictions/maps, as arrays and overlays, and shown in the
    report."""
    export: bool = True
    """Export SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "segmenter_stride", "threshold_images")
        for stride in (*self.output_strides, self.segmenter_stride):
            if stride < 1 or stride & (stride - 1):
                raise UserError(f"output stride {stride} is not a power of two; choose from 1 to the detector's stride")
        for name in ("tile", "pictures"):
            if getattr(self, name) < 0:
                raise UserError(f"{flag(name)} is {getattr(self, name)}; it must be at least 0")
        if self.detector is None and detectors.FAMILY[self.model] != "yolov1":
            raise UserError(f"--model {self.model}: dense inference needs the grid of YOLOv1; use --model small")
        if self.detector is None and not detectors.family(self.model).any_size(self.net):
            raise UserError("dense inference needs a network for several image sizes; use --net.head fully_conv")
        if self.resize != "stretch":
            raise UserError(f"--resize {self.resize}: dense inference stretches images; use --resize stretch")
        for path in (*self.beside, *filter(None, [self.detector])):
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file; give the path of a trained model")


def main(config: Config) -> dict:
    """Run the recipe; returns {map or model: {metric: value}}."""
    return grid.over_seeds("yolo_dense", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed: the detector (unless one is given), all maps, the segmenter, and the models of --beside."""
    data = load_data(config, "boxes", if_there=["segmentation"])
    data, remark = from_boxes.where_there_are_none(data, "boxes", run, config.quiet)
    result = Outcome(config, run, data, f"{LEAD} {remark}".strip())
    path = config.detector
    if path is None:
        path = run.models / f"{detector(config, run, data, result)}.keras"
    train, test = data.parts["boxes"][0], data.parts["segmentation"][1]
    classes = dense_maps.classes_of(data.dataset, dense_maps.read_detector(path)[1].labels)
    few = train.spread(config.threshold_images)

    variants = {f"stride{stride}": (stride, True) for stride in (*config.output_strides, config.segmenter_stride)}
    if config.stride_removed:
        variants["stride_removed"] = (1, False)
    for name, (stride, dilate) in variants.items():
        predictor = dense_maps.open_maps(path, stride, dilate=dilate, merge=classes.merge, tile=config.tile)
        chosen = dense_maps.score_maps(name, predictor, classes, few, test, config, run, result)
        if stride == config.segmenter_stride and dilate:
            dense_maps.voting_segmenter(predictor, chosen["votes"], classes, run)
    result.score("yolo_dense", "segmentation", test)
    result.export("yolo_dense", train, test)
    for beside in config.beside:
        dense_maps.score_beside(beside, test, config, run, result)
    result.figures += dense_maps.shown(test, config, run, variants)
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

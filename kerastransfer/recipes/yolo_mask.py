"""YOLO-Mask: a YOLOv3 detector, trained on boxes, gets a branch that draws a mask in each box (paper B).

    python -m kerastransfer.recipes.yolo_mask --config recipes/yolo_mask_penn_fudan.toml --data DIR/PennFudanPed

First the detector (or the one of --detector), then, with the detector frozen, the mask branch. --end-to-end-epochs
goes on with both together, which the paper found unstable. Scores are those of boxes (AP) and of masks (mask_AP).
"""

import dataclasses
from pathlib import Path
from typing import Literal

from kerastransfer import files
from kerastransfer.detectors import families
from kerastransfer.errors import UserError
from kerastransfer.recipes import detector as detection
from kerastransfer.runs import fitting, outcome, settings, trained
from kerastransfer.runs.folder import RunFolder

NAME = "yolo_mask"


@dataclasses.dataclass
class Config(detection.DetectorConfig):
    """Train a YOLOv3 detector on boxes, freeze it, and train its mask branch."""

    model: detection.Model = "yolov3-tiny"
    """A net of YOLOv3's family."""
    detector: str | None = None
    """The yolov3.keras of a trained detector, at whose image size all is done; without it one is trained first."""
    mask_epochs: int = 60
    """Epochs of the mask branch, the detector frozen."""
    mask_learning_rate: float = 1e-3
    """Its peak, for the mask branch."""
    mask_size: Literal[28, 14, 7] = 28
    """Side of a mask; 7 is what the paper ended with."""
    mask_filters: int = 256
    """Width of the branch: Mask R-CNN's 256; 32 suits two cores and phones."""
    mask_convs: int = 4
    """Its 3 x 3 convolutions before the mask doubles in size."""
    mask_level: Literal["scale", "fpn"] = "scale"
    """A box is pooled from the map of the grid that found it (the paper), or by its area (feature pyramids)."""
    fine: tuple[Literal["c1", "c2", "c3", "c4"], ...] = ()
    """Taps of the encoder that every box is pooled from as well: finer than the detector's maps (ours)."""
    class_agnostic: bool = False
    """One mask for a box whatever its class, and not one for each class."""
    proposals: int = 50
    """Detections of a training image, of which those that meet an object are learnt from, beside the objects."""
    end_to_end_epochs: int = 0
    """Epochs in which detector and mask branch are trained together, after the mask branch."""
    end_to_end_learning_rate: float = 3e-4
    """Its peak, for both together."""
    detections: int = 100
    """Boxes of an image that get a mask, in scores and in exported files, whose time grows with it."""
    export: bool = True
    """Write SavedModel and LiteRT files, and check them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.require_positive(self, "mask_epochs", "mask_learning_rate", "mask_filters", "detections", "proposals")
        if families.family(self.model) != "yolov3":
            raise UserError(f"--model {self.model}: the mask branch needs a net of YOLOv3's family, as yolov3-tiny")
        if self.end_to_end_epochs < 0:
            raise UserError(f"--end-to-end-epochs is {self.end_to_end_epochs}: it must be at least 0")
        if self.detector and not Path(self.detector).is_file():
            raise UserError(f"--detector {self.detector}: no such file; give RUN/models/yolov3.keras")


def main(config: Config) -> dict:
    """Run the recipe; returns {"yolov3": {metric: value}, "yolo_mask": {metric: value}}."""
    return outcome.over_seeds(NAME, config, once)


def once(config: Config, run: RunFolder) -> outcome.Outcome:
    """One seed."""
    data = fitting.load_data(config, "boxes", "masks")
    result = outcome.Outcome(config, run, data)
    path = Path(config.detector) if config.detector else run.models / "yolov3.keras"
    if not config.detector:
        detection.detector(config, run, data, result)
    masks(path, config, run, data, result)
    return result


def masks(path: Path, config: Config, run: RunFolder, data: fitting.Data, result: outcome.Outcome) -> None:
    """Train the branch on the detector in `path`, score it, export it."""
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.losses.mask import mask_loss
    from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss
    from kerastransfer.models import yolo_mask
    from kerastransfer.models.parts import freeze
    from kerastransfer.training import strategy, transfer

    train, test = data.parts["masks"]
    classes = data.dataset.classes
    found = read_detector(path, classes, config)
    mask_codec = MaskCodec(mask_size=config.mask_size, level=config.mask_level)
    options = {"config": config, "run": run, "fields": ("boxes", "masks"), "annotated": True}
    if config.multi_scale:
        options["sides"] = fitting.sides(config.image_size, max(stride for _, stride, _ in found.codec.levels))

    def build():
        network = yolo_mask.yolo_mask(
            read_detector(path, classes, config).network,
            1 if config.class_agnostic else len(classes),
            fine=config.fine,
            filters=config.mask_filters,
            convs=config.mask_convs,
            mask_size=config.mask_size,
            activation="relu6" if config.activation == "relu6" else "relu",
        )
        return network, yolo_mask.trainer(network, found.codec, mask_codec, proposals=config.proposals)

    def keep(network, name):
        if run.leads:
            outcome.keep(
                run,
                network,
                name,
                "instances",
                classes,
                config.image_size,
                found.codec,
                mask_codec,
                config.detections,
                config.resize,
            )

    def of_masks(_, predictions):
        return mask_loss(predictions, predictions["masks"])

    def frozen() -> dict:
        with strategy.scope(config.strategy):
            network, graph = build()
            detector = {part: network.get_layer(part) for part in yolo_mask.DETECTOR}
            for part in detector.values():
                freeze(part)
            before = {name: transfer.weights(part) for name, part in detector.items()}
            fitting.fit(
                graph,
                of_masks,
                {"mask": 1.0},
                train,
                phase=NAME,
                epochs=config.mask_epochs,
                learning_rate=config.mask_learning_rate,
                **options,
            )
        keep(network, NAME)
        after = {name: transfer.weights(part) for name, part in detector.items()}
        return {"source": str(path), **{name: transfer.compared(before[name], after[name]) for name in detector}}

    def together() -> dict:
        """From the weights of the frozen phase, which are the warm start."""
        terms = yolov3_loss(found.codec, config.loss, ignore=config.ignore)

        def of_both(targets, predictions):
            return {**terms(targets, predictions), **of_masks(targets, predictions)}

        with strategy.scope(config.strategy):
            network, graph = build()
            network.load_weights(run.models / f"{NAME}.weights.h5")
            fitting.fit(
                graph,
                of_both,
                {**WEIGHTS[config.loss], "mask": 10.0},  # the others are sums over the candidates of an image
                train,
                phase=f"{NAME}_end_to_end",
                epochs=config.end_to_end_epochs,
                learning_rate=config.end_to_end_learning_rate,
                mosaic=config.mosaic,
                **options,
            )
        keep(network, f"{NAME}_end_to_end")
        return {}

    report = fitting.phase(config, run, NAME, frozen)
    if run.leads:
        files.write_json(run.path / "transfer_report.json", {NAME: report})
    if moved := [weight for name in yolo_mask.DETECTOR for weight in report[name]["moved"]]:
        raise RuntimeError(f"{NAME}: the detector was frozen, but {moved[:3]} moved")
    result.score(NAME, "instances", test)
    result.export(NAME, train, test)
    if config.end_to_end_epochs:
        fitting.phase(config, run, f"{NAME}_end_to_end", together)
        result.score(f"{NAME}_end_to_end", "instances", test)
        result.export(f"{NAME}_end_to_end", train, test)


def read_detector(path: Path, classes: tuple[str, ...], config: Config) -> trained.Trained:
    """The detector of the mask branch. Raises UserError for what is none, or not of this data and size."""
    found = trained.read(path)
    if type(found.codec).__name__ != "YoloV3Codec" or found.masks:
        raise UserError(f"{path} is no YOLOv3 detector; give RUN/models/yolov3.keras, which the recipe detector writes")
    if tuple(found.metadata.labels) != tuple(classes):
        raise UserError(
            f"{path} knows {', '.join(found.metadata.labels)}, the data {', '.join(classes)}: train it on these classes"
        )
    if found.metadata.image_size != (config.image_size, config.image_size):
        height, width = found.metadata.image_size
        raise UserError(f"{path} reads {height} x {width} pixels: give --image-size {height}")
    if found.metadata.resize != config.resize:
        raise UserError(f"{path} was trained with --resize {found.metadata.resize}: give it here too")
    return found


if __name__ == "__main__":
    settings.run(main, Config)

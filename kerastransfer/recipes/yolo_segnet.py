"""Segmenters on a detector's encoder: it is trained on boxes, then frozen under SegNet and U-Net decoders.

    python -m kerastransfer.recipes.yolo_segnet
    python -m kerastransfer.recipes.yolo_segnet --config recipes/yolo_segnet/penn_fudan.toml --data DIR/PennFudanPed

A detector is trained on boxes, its encoder is frozen, and decoders without and with skip connections are trained on it
with masks (docs/method_a.md). --controls adds baselines: the same decoders on a frozen encoder with random weights and
on an encoder that is trained along with them, and a SegNet with as many weights as the U-Net. --masks from-boxes trains
the decoders without a single mask (docs/dense.md).
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from kerastransfer import detectors
from kerastransfer.errors import UserError
from kerastransfer.phases import from_boxes
from kerastransfer.phases.detector import DetectorConfig, detector
from kerastransfer.phases.segmenter import SegmenterConfig, require_decoders, segmenter
from kerastransfer.runs import command_line, grid, trained
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

MODELS = {"segnet": "yolo_segnet", "unet": "yolo_unet"}
LEAD = "A detector was trained on boxes; its encoder was frozen, and decoders were trained on it with masks."
GIVEN = "The encoder of a trained detector was frozen, and decoders were trained on it with masks."


@dataclasses.dataclass
class Config(SegmenterConfig, DetectorConfig):
    """Train a detector on boxes, freeze its encoder, and train decoders on it with masks."""

    TOY: ClassVar = {
        "image_size": 112,
        "batch_size": 16,
        "mosaic": 0.0,
        "scale": [0.7, 1.2],
        "learning_rate": 4e-3,
        "detector_epochs": 16,
        "cache_features": True,
        "decoder_learning_rate": 7e-3,
        "decoder_epochs": 12,
        # Objects are neighbours on a grid of 7 x 7: with more reach they compete for cells.
        "net": {"reach": 0.5},
    }

    encoder: str | None = None
    """A .keras file with an encoder to use instead of training a detector, such as RUN/models/encoder.keras or a
    detector; or the name of published weights, such as yolov3-tiny (`kerastransfer presets` lists them), or hub:NAME
    for a backbone of keras-hub."""
    decoders: tuple[str, ...] = ("segnet", "unet")
    """Decoders to train: without skip connections (`segnet`), with them (`unet`), without them but with as many
    weights as the U-Net (`segnet_matched`), and with two convolutions at each size (`unet_plain`); DeepLab's two
    convolutions on the last tap (`deeplab`), and its pyramid of dilated ones (`deeplab_aspp`)."""
    masks: tuple[Literal["true", "from-boxes"], ...] = ("true",)
    """Masks to train the decoders on: true ones, masks made from the boxes, or first one and then the other."""
    freeze: Literal["full", "weights"] = "full"
    """What to freeze of the encoder: everything (`full`), or everything except the statistics of its batch
    normalization (`weights`, as in the code of ElSedfy 2025)."""
    controls: bool = False
    """Also train baselines to compare the frozen encoder with."""
    control_kinds: tuple[Literal["random", "through", "scratch", "matched"], ...] = ("random", "through", "matched")
    """Baselines that --controls trains: a frozen encoder with random weights (`random`), an encoder trained along with
    the decoder, from its weights (`through`) or from random ones (`scratch`), and a SegNet with as many weights as the
    U-Net (`matched`)."""
    export: bool = True
    """Export SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder:
            trained.require_encoder(self.encoder)
        if self.encoder and self.start:
            raise UserError("--encoder keeps an encoder as it is, but --start trains a detector; leave one of them out")
        if not self.decoders:
            raise UserError("--decoders is empty; give segnet, unet or both")
        if not self.masks:
            raise UserError("--masks is empty; give true, from-boxes or both")
        if self.cache_features and self.freeze != "full":
            raise UserError(
                "--cache-features needs a fully frozen encoder; add --no-cache-features, or leave out --freeze weights"
            )


def main(config: Config) -> dict:
    """Run the recipe; returns {model: {metric: value}}."""
    return grid.over_seeds("yolo_segnet", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed: the detector (unless an encoder is given), then all decoders, then the controls."""
    boxes = config.encoder is None or "from-boxes" in config.masks
    field = detectors.field_of(config.model)
    # Without true masks to train on, they may lack in the test images as well.
    needed = (*([field] if boxes else []), *(["segmentation"] if "true" in config.masks else []))
    data = load_data(config, *needed, if_there=["segmentation"])
    require_decoders(config.decoders)
    data, remark = from_boxes.where_there_are_none(data, field, run, config.quiet)
    lead = GIVEN if config.encoder else LEAD
    if "true" not in config.masks:
        lead = lead.replace("with masks", "with masks that are made from boxes")
    result = Outcome(config, run, data, f"{lead} {remark}".strip())
    if config.encoder:
        encoder = Path(config.encoder)
    else:
        detector(config, run, data, result)
        encoder = run.models / "encoder.keras"
    common = (config, run, data, result)
    for masks in config.masks:
        suffix, (train, test) = "", data.parts["segmentation"]
        if masks == "from-boxes":
            suffix, train = "_from_boxes", from_boxes.pseudo_masked(data.parts[field][0], run, config.quiet)
        for decoder in config.decoders:
            name = MODELS.get(decoder, decoder) + suffix
            segmenter(name, decoder, encoder, *common, freeze=config.freeze, train=train)
            result.export(name, train, test)
    for kind in config.control_kinds if config.controls else ():
        control(kind, encoder, *common)
    for better, worse in (
        ("yolo_unet", "yolo_segnet"),
        ("yolo_unet", "segnet_matched"),
        ("yolo_unet_from_boxes", "yolo_segnet"),
        ("yolo_unet_from_boxes", "yolo_unet"),
        *((name, f"{name}_random") for name in result.models),
        *((f"{name}_through", name) for name in result.models),
        *((name, f"{name}_scratch") for name in result.models),
    ):
        result.compare(better, worse)
    return result


def control(kind: str, encoder: Path, config: Config, run: RunFolder, data, result: Outcome) -> None:
    """Train and score the baselines of one kind."""
    common = (config, run, data, result)
    if kind == "matched":
        if "segnet_matched" not in config.decoders:
            segmenter("segnet_matched", "segnet_matched", encoder, *common, freeze=config.freeze, role="control")
        return
    for decoder in config.decoders:
        name = f"{MODELS.get(decoder, decoder)}_{kind}"
        freeze = "none" if kind in ("through", "scratch") else config.freeze
        random = kind in ("random", "scratch")
        segmenter(name, decoder, encoder, *common, random=random, freeze=freeze, role="control")


if __name__ == "__main__":
    command_line.run(main, Config)

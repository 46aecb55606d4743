"""What a detector's --model stands for: how boxes are coded, which network is built, and its loss."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerastransfer.errors import UserError

if TYPE_CHECKING:
    from kerastransfer.data.dataset import Dataset

# The strides of the last taps, said here too, so that --help needs no Keras.
YOLOV1 = {"small": 16, "fast_yolo": 64, "yolov1": 64}
YOLOV3 = {"yolov3-tiny": 32, "yolov3-small": 32, "yolov3": 32, "yolov3-spp": 32}
STRIDES = {**YOLOV1, **YOLOV3}
LOSSES = {"yolov1": ("paper", "darknet", "author", "giou"), "yolov3": ("darknet", "giou", "ciou")}


@dataclasses.dataclass(frozen=True)
class Method:
    """codec: the dataclass that decodes predictions. stride: the largest of the network's, in pixels. build: makes the
    network. terms, weights: of its loss."""

    codec: Any
    stride: int
    build: Callable[[], Any]
    terms: Callable
    weights: Mapping[str, float]


def family(model: str) -> str:
    """ "yolov1" or "yolov3": also the name of the trained model's files."""
    return "yolov1" if model in YOLOV1 else "yolov3"


def method(config: Any, classes: int, train: "Dataset") -> Method:
    """What the flags say. train: where YOLOv3's anchors are fitted, unless --anchors gives them."""
    return {"yolov1": _yolov1, "yolov3": _yolov3}[family(config.model)](config, classes, train)


def encoder(config: Any) -> Any:
    """The encoder of the detector, with new weights."""
    if family(config.model) == "yolov1":
        from kerastransfer.encoders.yolov1 import ENCODERS

        return ENCODERS[config.model]()
    from kerastransfer.models.yolov3 import yolov3

    return yolov3(_sections(config, 1, ())).get_layer("encoder")


def _yolov1(config, classes, train) -> Method:
    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders.yolov1 import ACTIVATIONS, ENCODERS, tap_strides
    from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
    from kerastransfer.models.yolov1 import yolov1

    codec = YoloV1Codec(
        classes,
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

    return Method(codec, STRIDES[config.model], build, yolov1_loss(codec, config.loss), WEIGHTS)


def _yolov3(config, classes, train) -> Method:
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.data import anchors
    from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss
    from kerastransfer.models import darknet_cfg, darknet_nets
    from kerastransfer.models.yolov3 import yolov3

    shapes = list(zip(config.anchors[::2], config.anchors[1::2], strict=True))
    levels = darknet_nets.TABLES[config.model].count("yolo")
    if len(shapes) % levels:
        raise UserError(f"--anchors gives {len(shapes)} for the {levels} grids of {config.model}: give each as many")
    if not shapes and not config.cfg:
        size = (config.image_size, config.image_size)
        shapes = anchors.fitted(train, len(darknet_nets.ANCHORS[config.model]), size, config.seed, config.resize)
    sections = _sections(config, classes, shapes)
    found = darknet_cfg.anchors_of(sections)
    if found.num_classes != classes:
        raise UserError(f"--cfg {config.cfg} has classes={found.num_classes}, the data {classes}: change the cfg's")
    stride = found.levels[-1].stride
    if config.image_size % stride:
        raise UserError(f"--image-size {config.image_size} is no multiple of {stride}, the largest stride of --cfg")
    darknet_cfg.shapes(sections, (config.image_size, config.image_size))
    codec = YoloV3Codec(
        classes, found.anchors, found.levels, ratio=config.ratio, reach=config.reach, sway=1 + 2 * config.reach
    )
    terms = yolov3_loss(codec, config.loss, ignore=config.ignore)
    return Method(codec, stride, lambda: yolov3(sections), terms, WEIGHTS[config.loss])


def _sections(config, classes, anchors):
    """The net of --cfg, or of --model."""
    from kerastransfer.models import darknet_cfg, darknet_nets

    if not config.cfg:
        return darknet_cfg.parse(
            darknet_nets.yolov3_cfg(
                config.model,
                num_classes=classes,
                anchors=anchors or None,
                width=config.width,
                image_size=config.image_size,
                activation=config.activation,
            )
        )
    try:
        return darknet_cfg.parse(Path(config.cfg).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--cfg {config.cfg} cannot be read ({error}); give a Darknet cfg file") from None

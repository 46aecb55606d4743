"""YOLOv3 (Redmon and Farhadi 2018): anchors on several grids; the nets of Darknet's cfg files."""

import dataclasses
from pathlib import Path
from typing import Literal

from kerastransfer.detectors.detector import STARTED, Detector, Purpose, Start, require_multiple
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive

NETS = {"yolov3-tiny": 32, "yolov3-small": 32, "yolov3": 32, "yolov3-spp": 32}


@dataclasses.dataclass
class Settings:
    """Settings of a YOLOv3 detector."""

    loss: Literal["darknet", "giou", "ciou"] = "giou"
    """Loss: Darknet's, or with a GIoU or CIoU loss for the boxes in place of squared errors."""
    reach: float = 1.0
    """A cell also learns objects whose centre is at most this many cells, from 0 to 1, away from its border; with 0,
    each object is learnt by one cell, as published."""
    cfg: str | None = None
    """A Darknet cfg file that describes the net, to use instead of that of --model."""
    width: float = 1.0
    """Factor for the number of filters in each layer; on two CPU cores, 0.5 suits yolov3-tiny and 1 suits
    yolov3-small."""
    activation: Literal["relu6", "leaky"] = "relu6"
    """Activation of all layers: `leaky` is Darknet's; `relu6` loses less accuracy in int8 files."""
    anchors: tuple[float, ...] = ()
    """Width and height of each anchor, in pixels of the input, from small to large; by default they are fitted to the
    data."""
    ratio: float = 4.0
    """An anchor learns objects whose sides differ from its own by less than this factor, and each object is always
    learnt by its nearest anchor; with 0, only by the nearest, as published."""
    ignore: float = 0.7
    """Predictions that overlap an object by more than this IoU are not trained to be background."""

    def __post_init__(self) -> None:
        require_positive(self, "width", prefix="net.")
        if not 0 <= self.reach <= 1:
            raise UserError(f"--net.reach is {self.reach}; for YOLOv3 it must be from 0 to 1")
        if len(self.anchors) % 2 or not all(0 < side < float("inf") for side in self.anchors):
            raise UserError(
                f"--net.anchors has {len(self.anchors)} numbers; give a width and a height, above 0, for each anchor"
            )
        if self.anchors and self.cfg:
            raise UserError(
                f"--net.anchors does not apply to --net.cfg {self.cfg}, which has its own; remove one of them"
            )


def build(settings: Settings, net: str, purpose: Purpose) -> Detector:
    """The detector on one of `NETS` or on the net of a cfg file. Unless anchors are given, they are fitted to the
    training images, if there are any.

    Raises UserError for anchors, classes or an image size that do not fit the net, or if the purpose's start is not of
    this family.
    """
    if purpose.start is not None:
        return _started(settings, purpose.start, purpose)
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.data import anchors
    from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss
    from kerastransfer.models import darknet_cfg, darknet_nets
    from kerastransfer.models.yolov3 import yolov3

    if not settings.cfg:
        require_multiple(purpose.image_size, NETS[net], net)
    size = (purpose.image_size, purpose.image_size)
    shapes = list(zip(settings.anchors[::2], settings.anchors[1::2], strict=True))
    levels = darknet_nets.TABLES[net].count("yolo")
    if len(shapes) % levels:
        raise UserError(
            f"--net.anchors has {len(shapes)} anchors for the {levels} grids of {net}; give each grid the same number"
        )
    if not shapes and not settings.cfg and purpose.train is not None:
        shapes = anchors.fitted(purpose.train, len(darknet_nets.ANCHORS[net]), size, purpose.seed, purpose.resize)
    sections = _sections(settings, net, purpose, shapes)
    found = darknet_cfg.anchors_of(sections)
    classes = len(purpose.classes)
    if found.num_classes != classes:
        raise UserError(
            f"--net.cfg {settings.cfg} has classes={found.num_classes}, the data has {classes}; change the cfg"
        )
    stride = found.levels[-1].stride
    require_multiple(purpose.image_size, stride, settings.cfg or net)
    darknet_cfg.shapes(sections, size)
    # A cfg's own range of offsets is kept where it is larger than `reach` needs.
    sway = tuple(max(scale, 1 + 2 * settings.reach) for scale in found.scales)
    codec = YoloV3Codec(classes, found.anchors, found.levels, ratio=settings.ratio, reach=settings.reach, sway=sway)
    terms = yolov3_loss(codec, settings.loss, ignore=settings.ignore)
    return Detector(lambda: yolov3(sections), codec, terms, WEIGHTS[settings.loss], stride)


def _started(settings: Settings, start: Start, purpose: Purpose) -> Detector:
    """The detector `start` for the classes of `purpose`. Its net, anchors and range of offsets stay as they are."""
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.losses.yolov3 import WEIGHTS, yolov3_loss
    from kerastransfer.models.new_classes import with_classes

    start.require(YoloV3Codec, settings)
    start.refuse(settings, "cfg", "anchors", "width")
    stride = max(stride for _, stride, _ in start.codec.levels)
    require_multiple(purpose.image_size, stride, start.source)
    sway = start.codec.sway
    # Farther away, a cell cannot point to the centre of an object.
    reach = (min(sway) if isinstance(sway, tuple) else sway) / 2 - 0.5
    codec = dataclasses.replace(
        start.codec,
        num_classes=len(purpose.classes),
        ratio=settings.ratio,
        reach=max(0.0, min(settings.reach, reach)),
    )

    def network():
        return with_classes(start.network(), start.codec, codec, start.labels, purpose.classes)

    terms = yolov3_loss(codec, settings.loss, ignore=settings.ignore)
    return Detector(network, codec, terms, WEIGHTS[settings.loss], stride, STARTED, fresh=start.fresh(purpose.classes))


def any_size(settings: Settings) -> bool:
    """Whether the network takes images of several sizes, as --multi-scale needs."""
    return True


def _sections(settings, net, purpose, anchors):
    """The net of --net.cfg, or of --model."""
    from kerastransfer.models import darknet_cfg, darknet_nets

    if not settings.cfg:
        return darknet_cfg.parse(
            darknet_nets.yolov3_cfg(
                net,
                num_classes=len(purpose.classes),
                anchors=anchors or None,
                width=settings.width,
                image_size=purpose.image_size,
                activation=settings.activation,
            )
        )
    try:
        return darknet_cfg.parse(Path(settings.cfg).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--net.cfg {settings.cfg} cannot be read ({error}); give a Darknet cfg file") from None

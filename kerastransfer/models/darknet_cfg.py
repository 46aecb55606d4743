"""Darknet's cfg text: read into sections, checked, and written for the YOLOv3 family (spec/02 sections 1 to 5, 9)."""

import dataclasses
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from kerastransfer.errors import UserError

KINDS = ("net", "convolutional", "maxpool", "route", "shortcut", "upsample", "yolo")
# A file may use these; no model is built from them here.
OTHER_KINDS = (
    "local",
    "connected",
    "dropout",
    "avgpool",
    "softmax",
    "detection",
    "cost",
    "crop",
    "batchnorm",
    "region",
)
ALIASES = {"network": "net", "conv": "convolutional", "max": "maxpool", "conn": "connected", "avg": "avgpool"}
# Options of other Darknets that would change the result; anything but this value is refused.
CHANGES = {
    "convolutional": {"dilation": "1", "binary": "0", "xnor": "0"},
    "route": {"groups": "1"},
    "upsample": {"scale": "1"},
    "yolo": {"scale_x_y": "1", "new_coords": "0"},
}


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of a cfg. kind: "convolutional", ...; line: of its [header], from 1; index: Darknet's, which counts
    every section after [net] from 0 ([net] itself has -1)."""

    kind: str
    options: dict[str, str]
    line: int
    index: int

    def __str__(self):
        return f"cfg line {self.line}: section {self.index} [{self.kind}]"

    def integer(self, key: str, default: int) -> int:
        """The option `key` as a whole number. Raises UserError for anything else."""
        try:
            return int(self.options.get(key, default))
        except ValueError as error:
            raise UserError(f"{self}: {key}={self.options[key]} is no whole number; give one") from error

    def number(self, key: str, default: float) -> float:
        """The option `key` as a number. Raises UserError for anything else."""
        return self.numbers(key, (default,))[0]

    def numbers(self, key: str, default: Sequence[float] = ()) -> tuple[float, ...]:
        """The option `key` as numbers between commas. Raises UserError for anything else."""
        if key not in self.options:
            return tuple(default)
        try:
            return tuple(float(one) for one in self.options[key].strip(",").split(","))
        except ValueError as error:
            raise UserError(f"{self}: {key}={self.options[key]}: give numbers with commas between them") from error

    @property
    def activation(self) -> str:
        """Darknet's name of the activation; a shortcut has none unless it says so."""
        return self.options.get("activation", "linear" if self.kind == "shortcut" else "logistic")

    @property
    def padding(self) -> int:
        """Zeros on each side of a convolution's map; places in total around a max-pool's."""
        if self.kind == "maxpool":
            return self.integer("padding", self.integer("size", self.integer("stride", 1)) - 1)
        return self.integer("size", 1) // 2 if self.integer("pad", 0) else self.integer("padding", 0)

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the sections that this one reads; -1 is the image. Raises UserError for one that is not before."""
        if self.kind == "route":
            if not self.options.get("layers"):
                raise UserError(f"{self}: has no layers=; name the sections that it joins")
            given = self.numbers("layers")
        elif self.kind == "shortcut":
            given = (-1, *self.numbers("from"))
            if len(given) != 2:
                raise UserError(f"{self}: needs from= with one section; give the one that is added")
        else:
            return (self.index - 1,)
        found = tuple(int(one) if one >= 0 else self.index + int(one) for one in given)
        for one, index in zip(given, found, strict=True):
            if not 0 <= index < self.index:
                raise UserError(f"{self}: leads to section {index} ({one:g}); name one of 0 to {self.index - 1}")
        return found


class Shape(NamedTuple):
    """What a section gives: (height, width, channels), and how many pixels of the image one place stands for."""

    height: int
    width: int
    channels: int
    stride: Fraction


class Level(NamedTuple):
    """One [yolo]: name of its raw map ("p5" for stride 32), pixels of the image per cell, anchors that it predicts."""

    name: str
    stride: int
    mask: tuple[int, ...]


class Detections(NamedTuple):
    """What a cfg's [yolo] sections say together; anchors: (w, h) in pixels of the network's input; levels: the finest
    first."""

    num_classes: int
    anchors: tuple[tuple[float, float], ...]
    levels: tuple[Level, ...]
    ignore_thresh: float


def parse(text: str) -> tuple[Section, ...]:
    """The sections of a cfg, [net] first. Comments begin with # or ; and spaces count nothing; of a key that comes
    twice in a section the first holds, as in Darknet. Raises UserError with the number of the line."""
    sections: list[Section] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"\s+", "", re.split("[#;]", raw)[0])
        if not line:
            continue
        if line.startswith("["):
            kind = line.strip("[]").lower()
            kind = ALIASES.get(kind, kind)
            if kind not in KINDS + OTHER_KINDS:
                raise UserError(f"cfg line {number}: [{kind}] is unknown; known are {', '.join(KINDS)}")
            if (kind == "net") == bool(sections):
                raise UserError(f"cfg line {number}: [{kind}]: a cfg begins with one [net]; put it first")
            sections.append(Section(kind, {}, number, len(sections) - 1))
            continue
        key, equals, value = line.partition("=")
        if not equals or not key:
            raise UserError(f"cfg line {number}: {raw.strip()!r} is neither [section] nor key=value; mend this line")
        if not sections:
            raise UserError(f"cfg line {number}: {key}= comes before any [section]; begin with [net]")
        sections[-1].options.setdefault(key, value)
    if len(sections) < 2:
        raise UserError("cfg: has no section after [net]; give the text of a Darknet cfg file")
    return tuple(sections)


def sections_of(cfg: str | Sequence[Section]) -> tuple[Section, ...]:
    """`parse` of a text; sections as they are."""
    return parse(cfg) if isinstance(cfg, str) else tuple(cfg)


def image_size(sections: Sequence[Section]) -> tuple[int, int]:
    """(height, width) in [net]. Raises UserError when they are missing or no sizes."""
    net = sections[0]
    height, width = net.integer("height", 0), net.integer("width", 0)
    if height < 1 or width < 1 or net.integer("channels", 3) != 3:
        raise UserError(f"{net}: needs width and height of the image, and channels=3; give them")
    return height, width


def shapes(sections: Sequence[Section], size: tuple[int, int] | None = None) -> tuple[Shape, ...]:
    """What each section after [net] gives for an image of `size` = (H, W), by itself the cfg's own.

    Raises UserError that names the first section whose inputs do not fit together, or that no net is built from.
    """
    image = Shape(*(size or image_size(sections)), 3, Fraction(1))
    found: list[Shape] = []
    for section in sections[1:]:
        for key, value in CHANGES.get(section.kind, {}).items():
            if float(section.number(key, float(value))) != float(value):
                raise UserError(f"{section}: {key}={section.options[key]} is not supported; only {key}={value} is")
        read = [found[source] if source >= 0 else image for source in section.sources]
        found.append(_shape(section, read))
        if min(found[-1][:3]) < 1:
            raise UserError(f"{section}: nothing is left of the map ({found[-1][:3]}); enlarge the image in [net]")
    return tuple(found)


def _shape(section: Section, read: list[Shape]) -> Shape:
    height, width, channels, step = read[0]
    stride, size, groups = (section.integer(key, 1) for key in ("stride", "size", "groups"))
    if section.kind in OTHER_KINDS:
        raise UserError(f"{section}: no net is built from it here; {', '.join(KINDS)} are")
    if min(stride, size, groups) < 1:
        raise UserError(f"{section}: stride {stride}, size {size}, groups {groups}: give 1 or more")
    if section.kind == "convolutional":
        border, filters = 2 * section.padding, section.integer("filters", 1)
        if channels % groups or filters % groups:
            raise UserError(
                f"{section}: {groups} groups do not divide {channels} and {filters} channels; choose others"
            )
        channels = filters
    elif section.kind == "maxpool":
        border, size = section.padding, section.integer("size", stride)
    elif section.kind == "upsample":
        stride = section.integer("stride", 2)
        return Shape(height * stride, width * stride, channels, step / stride)
    elif section.kind == "route":
        if any(one[:2] != (height, width) for one in read):
            sizes = ", ".join(f"{one.height} x {one.width}" for one in read)
            raise UserError(f"{section}: joins maps of sizes {sizes}; all need the same: mend layers= or [net]'s size")
        return read[0]._replace(channels=sum(one.channels for one in read))
    elif section.kind == "shortcut":
        if read[0][:3] != read[1][:3]:
            raise UserError(f"{section}: adds maps of {read[0][:3]} and {read[1][:3]}; they must be alike: mend from=")
        return read[0]
    else:  # yolo
        return read[0]
    height, width = ((side + border - size) // stride + 1 for side in (height, width))
    return Shape(height, width, channels, step * stride)


def anchors_of(sections: Sequence[Section]) -> Detections:
    """Classes, anchors and levels of the [yolo] sections.

    Raises UserError when there is none, when they disagree, when anchors are no pairs, when a mask names an anchor that
    is not there, and when the convolution before one has other filters than anchors * (5 + classes).
    """
    found = shapes(sections)
    levels: dict[str, Level] = {}
    settings = {}
    for section in sections[1:]:
        if section.kind != "yolo":
            continue
        before = sections[section.index]  # sections[0] is [net]
        if before.kind != "convolutional":
            raise UserError(f"{section}: comes after [{before.kind}]; it reads a [convolutional]: put one before it")
        values, classes = section.numbers("anchors"), section.integer("classes", 20)
        anchors = tuple(zip(values[::2], values[1::2], strict=False))
        if not anchors or len(values) % 2 or min(values) <= 0 or section.integer("num", len(anchors)) != len(anchors):
            raise UserError(f"{section}: {len(values)} numbers in anchors=: give width, height of each of num= anchors")
        mask = tuple(int(one) for one in section.numbers("mask", range(len(anchors))))
        if any(not 0 <= one < len(anchors) for one in mask):
            raise UserError(f"{section}: mask={section.options['mask']} of {len(anchors)} anchors; number them from 0")
        filters, wanted = found[before.index].channels, len(mask) * (5 + classes)
        if filters != wanted:
            raise UserError(f"{before}: filters={filters} before [yolo]; give {len(mask)} * (5 + {classes}) = {wanted}")
        stride = found[section.index].stride
        power = math.log2(stride)
        name = f"p{int(power)}"
        if power != int(power) or name in levels:
            raise UserError(f"{section}: stride {stride}; each [yolo] needs its own power of two: mend the strides")
        levels[name] = Level(name, int(stride), mask)
        settings[section.index] = (classes, anchors, section.number("ignore_thresh", 0.5))
        if len(set(settings.values())) > 1:
            raise UserError(f"{section}: classes, anchors or ignore_thresh are not those of the others; repeat them")
    if not levels:
        raise UserError("cfg: has no [yolo]; give the cfg of a YOLOv3 detector")
    classes, anchors, ignore_thresh = next(iter(settings.values()))
    return Detections(classes, anchors, tuple(sorted(levels.values(), key=lambda level: level.stride)), ignore_thresh)


# The tables. A row is a convolution (filters, kernel) or (filters, kernel, stride); ("maxpool", kernel, stride);
# ("route", sections...); "shortcut", of the third section back; "upsample"; or "yolo": the linear convolution and
# [yolo].


def _stage(filters, blocks):
    return ((filters, 3, 2), *((filters // 2, 1), (filters, 3), "shortcut") * blocks)


def _neck(filters):
    return (*((filters, 1), (2 * filters, 3)) * 3, "yolo")


def _up(tap, filters, joined):
    return (("route", tap), (filters, 1), "upsample", ("route", -1, joined))


_DARKNET53 = ((32, 3), *_stage(64, 1), *_stage(128, 2), *_stage(256, 8), *_stage(512, 8), *_stage(1024, 4))
_POOLS = (
    *(("maxpool", 5, 1), ("route", -2), ("maxpool", 9, 1), ("route", -4), ("maxpool", 13, 1)),
    ("route", -1, -3, -5, -6),
)
_HALVE = ("maxpool", 2, 2)
TABLES = {
    "yolov3": (*_DARKNET53, *_neck(512), *_up(79, 256, 61), *_neck(256), *_up(91, 128, 36), *_neck(128)),
    "yolov3-spp": (
        *(*_DARKNET53, *_neck(512)[:3], *_POOLS, *_neck(512)[2:]),
        *(*_up(86, 256, 61), *_neck(256), *_up(98, 128, 36), *_neck(128)),
    ),
    "yolov3-tiny": (
        *((16, 3), _HALVE, (32, 3), _HALVE, (64, 3), _HALVE, (128, 3), _HALVE, (256, 3), _HALVE, (512, 3)),
        *(("maxpool", 2, 1), (1024, 3), (256, 1), (512, 3), "yolo", *_up(13, 128, 8), (256, 3), "yolo"),
    ),
}
_ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
ANCHORS = {
    "yolov3": _ANCHORS,
    "yolov3-spp": _ANCHORS,
    "yolov3-tiny": ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)),
}
_NET = """[net]
batch=64
subdivisions=16
width={width}
height={height}
channels=3
momentum=0.9
decay=0.0005
angle=0
saturation=1.5
exposure=1.5
hue=.1
learning_rate=0.001
burn_in=1000
max_batches=500200
policy=steps
steps=400000,450000
scales=.1,.1
"""


def yolov3_cfg(
    name: str,
    *,
    num_classes: int = 80,
    anchors: Sequence[tuple[float, float]] | None = None,
    masks: Sequence[Sequence[int]] | None = None,
    width: float = 1.0,
    image_size: int | tuple[int, int] = 416,
    activation: str = "leaky",
) -> str:
    """Darknet cfg text of "yolov3", "yolov3-spp" or "yolov3-tiny", which Darknet and OpenCV read too.

    anchors: (w, h) in pixels of the network's input, small ones first; by default the published ones.
    masks: numbers of the anchors of each [yolo], in the cfg's order, coarsest first; by default the last share, the one
        before, and so on: (6, 7, 8), (3, 4, 5), (0, 1, 2). The published yolov3-tiny.weights were trained with
        ((3, 4, 5), (1, 2, 3)).
    width: scales every number of filters but those of the linear convolutions, to a multiple of 8, at least 8.
    image_size: side in pixels, or (H, W). Raises UserError for an unknown name or a size without a multiple of 32.
    """
    if name not in TABLES:
        raise UserError(f"{name!r} is no net of the YOLOv3 family; choose one of {', '.join(TABLES)}")
    anchors = ANCHORS[name] if anchors is None else anchors
    levels = TABLES[name].count("yolo")
    share = len(anchors) // levels
    if masks is None:
        masks = [range(share * level, share * (level + 1)) for level in reversed(range(levels))]
    if len(masks) != levels:
        raise UserError(f"{len(masks)} masks came for the {levels} [yolo] sections of {name}; give one for each")
    height, across = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height % 32 or across % 32:
        raise UserError(f"image size {height} x {across}: {name} needs multiples of 32; choose such")

    blocks, remaining = [_NET.format(width=across, height=height)], iter(masks)
    for row in TABLES[name]:
        if row == "shortcut":
            blocks.append(_section("shortcut", {"from": -3, "activation": "linear"}))
        elif row == "upsample":
            blocks.append(_section("upsample", {"stride": 2}))
        elif row == "yolo":
            mask = tuple(next(remaining))
            linear = {"size": 1, "stride": 1, "pad": 1, "filters": len(mask) * (5 + num_classes)}
            blocks.append(_section("convolutional", {**linear, "activation": "linear"}))
            blocks.append(_section("yolo", _yolo(mask, anchors, num_classes)))
        elif row[0] == "route":
            blocks.append(_section("route", {"layers": row[1:]}))
        elif row[0] == "maxpool":
            blocks.append(_section("maxpool", {"size": row[1], "stride": row[2]}))
        else:
            filters, size, stride = (*row, 1)[:3]
            scaled = filters if width == 1 else max(8, 8 * round(filters * width / 8))
            options = {"batch_normalize": 1, "filters": scaled, "size": size, "stride": stride, "pad": 1}
            blocks.append(_section("convolutional", {**options, "activation": activation}))
    return "\n".join(blocks)


def _yolo(mask, anchors, num_classes):
    numbers = [f"{value:g}" for anchor in anchors for value in anchor]
    return {
        "mask": mask,
        "anchors": numbers,
        "classes": num_classes,
        "num": len(anchors),
        "jitter": ".3",
        "ignore_thresh": ".7",
        "truth_thresh": 1,
        "random": 1,
    }


def _section(kind, options):
    lines = (
        f"{key}={','.join(map(str, value)) if isinstance(value, tuple | list) else value}"
        for key, value in options.items()
    )
    return "\n".join((f"[{kind}]", *lines, ""))

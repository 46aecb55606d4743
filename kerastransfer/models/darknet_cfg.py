"""Parses and checks Darknet's cfg text."""

import dataclasses
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from kerastransfer.errors import UserError
from kerastransfer.vocabulary import LARGEST_SIDE

# The sections that nets are built from.
KINDS = (
    "net",
    "convolutional",
    "maxpool",
    "avgpool",
    "upsample",
    "route",
    "shortcut",
    "scale_channels",
    "sam",
    "dropout",
    "yolo",
)
ALIASES = {"network": "net", "conv": "convolutional", "max": "maxpool", "conn": "connected", "avg": "avgpool"}
# Sections that read the one before and another, named by from=.
JOINING = ("shortcut", "scale_channels", "sam")
# Options of other versions of Darknet that would change the result; any other value is refused.
CHANGES = {
    "convolutional": {"dilation": 1, "binary": 0, "xnor": 0, "antialiasing": 0, "assisted_excitation": 0},
    "maxpool": {"maxpool_depth": 0, "antialiasing": 0},
    "upsample": {"scale": 1},
    "scale_channels": {"scale_wh": 0},
    "yolo": {"new_coords": 0},
}
# The stride of a map that is the mean over all places.
NOWHERE = Fraction(0)


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a cfg. kind: "convolutional", ... line: line number of its [header], from 1. index: Darknet's, which
    counts all sections after [net] from 0 ([net] itself has -1)."""

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
            raise UserError(f"{self}: {key}={self.options[key]} is not a whole number") from error

    def number(self, key: str, default: float) -> float:
        """The option `key` as a number. Raises UserError for anything else."""
        return self.numbers(key, (default,))[0]

    def numbers(self, key: str, default: Sequence[float] = ()) -> tuple[float, ...]:
        """The option `key` as numbers separated by commas. Raises UserError for anything else."""
        if key not in self.options:
            return tuple(default)
        try:
            return tuple(float(one) for one in self.options[key].strip(",").split(","))
        except ValueError as error:
            raise UserError(f"{self}: {key}={self.options[key]}: give numbers with commas between them") from error

    @property
    def activation(self) -> str:
        """Darknet's name of the activation; by default, sections that join two maps have none."""
        return self.options.get("activation", "linear" if self.kind in JOINING else "logistic")

    @property
    def padding(self) -> int:
        """For a convolution, the zeros on each side of the map; for a max-pool, the total padding along an axis."""
        if self.kind == "maxpool":
            return self.integer("padding", self.integer("size", self.integer("stride", 1)) - 1)
        return self.integer("size", 1) // 2 if self.integer("pad", 0) else self.integer("padding", 0)

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the sections that this one reads; -1 is the image. Raises UserError unless they come before it."""
        if self.kind == "route":
            if not self.options.get("layers"):
                raise UserError(f"{self}: has no layers=; name the sections that it joins")
            given = self.numbers("layers")
        elif self.kind in JOINING:
            given = (-1, *self.numbers("from"))
            if len(given) != 2:
                raise UserError(f"{self}: needs from= with one section; name the one that it reads beside the last")
        else:
            return (self.index - 1,)
        found = tuple(int(one) if one >= 0 else self.index + int(one) for one in given)
        for one, index in zip(given, found, strict=True):
            if not 0 <= index < self.index:
                raise UserError(f"{self}: leads to section {index} ({one:g}); name one of 0 to {self.index - 1}")
        return found

    def channels(self, count: int) -> tuple[int, int]:
        """For a route, the first channel and the one after the last that it takes of a map of `count` channels: with
        groups= it takes the part number group_id=. Raises UserError if there is no such part."""
        groups, part = self.integer("groups", 1), self.integer("group_id", 0)
        if groups < 1 or count % groups or not 0 <= part < groups:
            raise UserError(f"{self}: has no part {part} of {groups} in {count} channels; fix groups= and group_id=")
        size = count // groups
        return part * size, (part + 1) * size


class Shape(NamedTuple):
    """The output of a section: height, width, channels, and stride, the pixels of the image between two positions
    (`NOWHERE` for the mean over a map)."""

    height: int
    width: int
    channels: int
    stride: Fraction


class Level(NamedTuple):
    """A [yolo]: the name of its raw map ("p5" for stride 32), the pixels of the image per cell, and its anchors."""

    name: str
    stride: int
    mask: tuple[int, ...]


class Detections(NamedTuple):
    """The contents of the [yolo] sections. anchors: (w, h) in pixels of the network's input. levels: finest first.
    scales: scale_x_y of each level, the range of the offset of a centre in cells."""

    num_classes: int
    anchors: tuple[tuple[float, float], ...]
    levels: tuple[Level, ...]
    ignore_thresh: float
    scales: tuple[float, ...]


def parse(text: str) -> tuple[Section, ...]:
    """The sections of a cfg, [net] first. Comments begin with # or ; and spaces are ignored. If a key occurs twice in a
    section, the first one holds, as in Darknet. Raises UserError with the line number."""
    sections: list[Section] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"\s+", "", re.split("[#;]", raw)[0])
        if not line:
            continue
        if line.startswith("["):
            kind = line.strip("[]").lower()
            kind = ALIASES.get(kind, kind)
            if (kind == "net") == bool(sections):
                raise UserError(f"cfg line {number}: [{kind}]: a cfg begins with one [net]; put it first")
            sections.append(Section(kind, {}, number, len(sections) - 1))
            continue
        key, equals, value = line.partition("=")
        if not equals or not key:
            raise UserError(f"cfg line {number}: {raw.strip()!r} is neither [section] nor key=value; fix this line")
        if not sections:
            raise UserError(f"cfg line {number}: {key}= comes before any [section]; begin with [net]")
        sections[-1].options.setdefault(key, value)
    if len(sections) < 2:
        raise UserError("cfg: has no section after [net]; give the text of a Darknet cfg file")
    return tuple(sections)


def sections_of(cfg: str | Sequence[Section]) -> tuple[Section, ...]:
    """The sections of a cfg text; sections are returned unchanged."""
    return parse(cfg) if isinstance(cfg, str) else tuple(cfg)


def image_size(sections: Sequence[Section]) -> tuple[int, int]:
    """(height, width) in [net]. Raises UserError if they are missing or invalid."""
    net = sections[0]
    height, width = net.integer("height", 0), net.integer("width", 0)
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE) or net.integer("channels", 3) != 3:
        raise UserError(
            f"{net}: needs width and height of the image, up to {LARGEST_SIDE} pixels, and channels=3; give them"
        )
    return height, width


def shapes(sections: Sequence[Section], size: tuple[int, int] | None = None) -> tuple[Shape, ...]:
    """The output shape of each section after [net], for an image of `size` = (H, W), by default that of the cfg.

    Raises UserError, naming the first section whose inputs do not fit together or that is not supported.
    """
    image = Shape(*(size or image_size(sections)), 3, Fraction(1))
    found: list[Shape] = []
    for section in sections[1:]:
        for key, value in CHANGES.get(section.kind, {}).items():
            if section.number(key, value) != value:
                raise UserError(f"{section}: {key}={section.options[key]} is not supported; only {key}={value} is")
        read = [found[source] if source >= 0 else image for source in section.sources]
        found.append(_shape(section, read))
        if min(found[-1][:3]) < 1:
            raise UserError(f"{section}: nothing is left of the map ({found[-1][:3]}); enlarge the image in [net]")
    return tuple(found)


def _shape(section: Section, read: list[Shape]) -> Shape:
    if section.kind not in _SHAPES:
        raise UserError(
            f"{section}: is not supported; {', '.join(KINDS)} are. To add it, write its output's shape in "
            "models/darknet_cfg.py and its layer in models/yolov3.py"
        )
    return _SHAPES[section.kind](section, *read)


def _convolution(section, read):
    filters, groups = section.integer("filters", 1), section.integer("groups", 1)
    size, stride = section.integer("size", 1), section.integer("stride", 1)
    if min(stride, size, groups) < 1:
        raise UserError(f"{section}: stride {stride}, size {size}, groups {groups}: give 1 or more")
    if section.integer("stride_x", stride) != stride or section.integer("stride_y", stride) != stride:
        raise UserError(f"{section}: stride_x and stride_y are not supported; only one stride= is")
    if read.channels % groups or filters % groups:
        raise UserError(
            f"{section}: {groups} groups do not divide {read.channels} and {filters} channels; choose others"
        )
    return _window(read, 2 * section.padding, size, stride)._replace(channels=filters)


def _maxpool(section, read):
    stride = section.integer("stride", 1)
    size = section.integer("size", stride)
    if min(stride, size) < 1:
        raise UserError(f"{section}: stride {stride}, size {size}: give 1 or more")
    return _window(read, section.padding, size, stride)


def _window(read, border, size, stride):
    height, width = ((side + border - size) // stride + 1 for side in read[:2])
    return Shape(height, width, read.channels, read.stride * stride)


def _avgpool(section, read):
    return Shape(1, 1, read.channels, NOWHERE)


def _upsample(section, read):
    stride = section.integer("stride", 2)
    if stride < 1:
        raise UserError(f"{section}: stride {stride}: give 1 or more")
    return Shape(read.height * stride, read.width * stride, read.channels, read.stride / stride)


def _route(section, *read):
    if any(one[:2] != read[0][:2] for one in read):
        sizes = ", ".join(f"{one.height} x {one.width}" for one in read)
        raise UserError(
            f"{section}: joins maps of sizes {sizes}, which must be equal; fix layers= or the size in [net]"
        )
    taken = [section.channels(one.channels) for one in read]
    return read[0]._replace(channels=sum(end - begin for begin, end in taken))


def _equal(section, read, other):
    """The sum or the product of two maps."""
    if read[:3] != other[:3]:
        raise UserError(f"{section}: joins maps of {read[:3]} and {other[:3]}, which must be equal; fix from=")
    return read


def _scale_channels(section, read, other):
    """A number for each channel, and the map that is multiplied by it."""
    if read[:3] != (1, 1, other.channels):
        wanted = (1, 1, other.channels)
        raise UserError(f"{section}: multiplies a map of {other[:3]} by one of {read[:3]}, not {wanted}; fix from=")
    return other


def _same(section, read):
    return read


_SHAPES = {
    "convolutional": _convolution,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "upsample": _upsample,
    "route": _route,
    "shortcut": _equal,
    "scale_channels": _scale_channels,
    "sam": _equal,
    "dropout": _same,
    "yolo": _same,
}


def anchors_of(sections: Sequence[Section]) -> Detections:
    """Classes, anchors and levels of the [yolo] sections.

    Raises UserError if there are none, if they disagree, if anchors are not pairs, if a mask names an anchor that does
    not exist, or if the convolution before a [yolo] does not have anchors * (5 + classes) filters.
    """
    found = shapes(sections)
    levels: dict[str, Level] = {}
    scales: dict[str, float] = {}
    settings = {}
    for section in sections[1:]:
        if section.kind != "yolo":
            continue
        # The first section is [net], so this is the one before.
        before = sections[section.index]
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
        power = math.log2(stride) if stride > 0 else math.nan
        name = f"p{power:.0f}"
        if not power.is_integer() or name in levels:
            raise UserError(f"{section}: stride {stride}; each [yolo] needs its own power of two; fix the strides")
        levels[name] = Level(name, int(stride), mask)
        scales[name] = section.number("scale_x_y", 1.0)
        if not 1 <= scales[name] < 10:
            raise UserError(f"{section}: scale_x_y={section.options['scale_x_y']}; give 1 or a little more, as 1.05")
        settings[section.index] = (classes, anchors, section.number("ignore_thresh", 0.5))
        if len(set(settings.values())) > 1:
            raise UserError(f"{section}: classes, anchors or ignore_thresh are not those of the others; repeat them")
    if not levels:
        raise UserError("cfg: has no [yolo]; give the cfg of a YOLOv3 detector")
    classes, anchors, ignore_thresh = next(iter(settings.values()))
    order = tuple(sorted(levels.values(), key=lambda level: level.stride))
    return Detections(classes, anchors, order, ignore_thresh, tuple(scales[level.name] for level in order))

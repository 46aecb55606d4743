"""CVAT for images 1.1: an xml that holds all images and what was drawn in them.

    annotations.xml  images/*.jpg           as CVAT exports it; the same in train/, val/ and test/

    <image name="a.jpg" width="30" height="20"><box label="cat" xtl="3" ytl="2" xbr="9" ybr="12" occluded="0"/></image>

Boxes, polygons, ellipses and brushed masks are read; polygons and masks of one group are one object, as in CVAT's own
export to COCO. A rotated box becomes the upright box round it: that holds all of the object, while the sample would be
lost if it were refused; a note says so. Images lie in images/, or anywhere below by their names. One without shapes is
an image without objects.
"""

import functools
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from kerastransfer.data.dataset import BadSampleError, Dataset, remark
from kerastransfer.data.layouts import shapes
from kerastransfer.data.layouts.files import annotation_files, split_of, xml
from kerastransfer.data.layouts.shapes import Drawn, Entries, Shape, number
from kerastransfer.errors import UserError

FORM = "annotations.xml of 'CVAT for images 1.1', in a folder with its images"
_BEGINNING = re.compile(r"<annotations[\s>].*<(meta|image|track)[\s>]", re.DOTALL)
_OTHERS = ("polyline", "points", "cuboid", "skeleton", "tag")


def recognises(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path) -> Dataset:
    return shapes.read(folder, _files(folder), _entries)


def _files(folder: Path) -> list[Path]:
    return annotation_files(folder, ".xml", _BEGINNING.search)


def _entries(path: Path) -> Entries:
    try:
        root = xml(path)
    except BadSampleError as error:
        raise UserError(f"{path}: {error}") from error
    if root.find("track") is not None:
        raise UserError(
            f"{path} holds tracks of a video; export the task as 'CVAT for images 1.1', with its images, which has the "
            "shapes of every frame"
        )
    for image in root.iterfind("image"):
        try:
            drawn: Drawn | BadSampleError = _drawn(image)
        except BadSampleError as error:
            drawn = error
        yield image.get("name", ""), drawn


def _drawn(image: ElementTree.Element) -> Drawn:
    sides = [image.get(side, "0") for side in ("height", "width")]
    if not all(side.isdecimal() and len(side) < 10 for side in sides):
        raise BadSampleError("the size in the xml is not a number")
    found = [_shape(one) for one in image if one.tag in _SHAPES]
    if any(one.tag in _OTHERS for one in image):
        remark("points, lines, cuboids, skeletons and tags of CVAT are left out; boxes, polygons and masks are read")
    return Drawn(found, tuple(map(int, sides)), split_of([image.get("subset", "")]))


def _shape(one: ElementTree.Element) -> Shape:
    label = one.get("label", "").strip()
    if not label:
        raise BadSampleError(f"a {one.tag} has no label")
    points, brushed = _SHAPES[one.tag](one)
    outlined = one.tag != "box"
    # Boxes are grouped for other reasons than that they are parts of one object.
    group = one.get("group_id") if outlined and one.get("group_id") != "0" else None
    occluded = one.get("occluded")
    return Shape(label, points, outlined, brushed, group, None if occluded is None else occluded == "1")


def _box(one: ElementTree.Element) -> tuple:
    x1, y1, x2, y2 = _numbers(one, "xtl", "ytl", "xbr", "ybr")
    if x1 >= x2 or y1 >= y2:
        raise BadSampleError(f"box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) has no area")
    angle = _angle(one)
    if angle:
        remark("a rotated box is read as the upright box round it, which may be larger than its object")
    return shapes.turned([x1, x2, x2, x1], [y1, y1, y2, y2], ((x1 + x2) / 2, (y1 + y2) / 2), angle), None


def _polygon(one: ElementTree.Element) -> tuple:
    pairs = [pair.split(",") for pair in one.get("points", "").split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise BadSampleError("a polygon whose points are not x,y;x,y;...")
    return shapes.polygon([_number(value) for pair in pairs for value in pair]), None


def _ellipse(one: ElementTree.Element) -> tuple:
    return shapes.ellipse(*_numbers(one, "cx", "cy", "rx", "ry"), _angle(one)), None


def _mask(one: ElementTree.Element) -> tuple:
    left, top, width, height = _numbers(one, "left", "top", "width", "height")
    brushed = functools.partial(_brushed, one.get("rle", ""), left, top, width, height)
    return (left, top, left + width, top + height), brushed


_SHAPES = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}


def _brushed(rle: str, left: float, top: float, width: float, height: float, size: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) bool of runs of pixels out of and in the mask by turns, row by row in its box."""
    try:
        runs = np.array([int(run) for run in rle.split(",")])
    except (ValueError, OverflowError):
        raise BadSampleError("a mask whose rle is not a row of whole numbers") from None
    x, y, w, h = map(int, (left, top, width, height))
    if (x, y, w, h) != (left, top, width, height) or x < 0 or y < 0 or x + w > size[1] or y + h > size[0]:
        raise BadSampleError(f"a mask outside the image of {size[1]} x {size[0]} pixels (x, y)")
    if runs.dtype.kind != "i" or (runs < 0).any() or sum(map(int, runs)) != w * h:
        raise BadSampleError(f"a mask whose runs do not add up to the {w} x {h} pixels of its box")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if not inside.any():
        raise BadSampleError("an object mask has no pixel")
    mask = np.zeros(size, bool)
    mask[y : y + h, x : x + w] = inside.reshape(h, w)
    return mask


def _angle(one: ElementTree.Element) -> float:
    """Radians, clockwise."""
    return math.radians(_number(one.get("rotation", "0")))


def _numbers(one: ElementTree.Element, *names: str) -> list[float]:
    missing = [name for name in names if one.get(name) is None]
    if missing:
        raise BadSampleError(f"a {one.tag} has no {missing[0]}")
    return [_number(one.get(name, "")) for name in names]


def _number(text: str) -> float:
    try:
        return number(float(text))
    except ValueError:
        raise BadSampleError(f"{text[:40]!r} is no number of pixels") from None

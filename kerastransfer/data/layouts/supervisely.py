"""Supervisely: folders img/ and ann/, with a json of objects for each image; a project holds several of these.

    [meta.json]  DATASET/img/NAME.jpg  DATASET/ann/NAME.jpg.json

    {"size": {"height": 20, "width": 30}, "objects": [{"classTitle": "cat", "geometryType": "polygon",
    "points": {"exterior": [[3, 2], [9, 2], [9, 12]], "interior": []}}]}

Rectangles, whose ends are pixels that belong to them, polygons with holes, and bitmaps are read; polygons and bitmaps
of one `instance` and class are one object. An image whose json lists nothing is an image without objects.
"""

import base64
import functools
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, remark
from kerastransfer.data.images import read_opaque
from kerastransfer.data.layouts import json_files, shapes
from kerastransfer.data.layouts.files import folders, images_under, of_suffix, split_of
from kerastransfer.data.layouts.objects import corners_of, filled
from kerastransfer.data.layouts.shapes import Drawn, Shape, number
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import PICTURES

FORM = "img/ and ann/*.json side by side, at the top, in train/, val/ and test/, or in the folders of a project"
# In bytes, of a json, and of a bitmap once it is unpacked.
LARGEST, LARGEST_BITMAP = 200_000_000, 50_000_000


def recognises(folder: Path) -> bool:
    return bool(_places(folder))


def read(folder: Path) -> Dataset:
    images, bad, found = {}, [], {}
    for place in _places(folder):
        prefix = "" if place == folder else f"{place.name}/"
        images |= {prefix + stem: path for stem, path in images_under(place / "img").items()}
        for path in sorted(of_suffix(place / "ann", ".json", deep=True)):
            name = prefix + _stem(path.relative_to(place / "ann").as_posix())
            try:
                drawn = _drawn(path)
                if name not in images:
                    raise BadSampleError(f"annotation {path.name} has no image of this name")
                found[name] = drawn
            except BadSampleError as error:
                bad.append(BadSample(name, str(error)))
                images.pop(name, None)
    return shapes.dataset_of(folder, images, found, bad)


def _places(folder: Path) -> list[Path]:
    """`folder` itself, the data sets of a project, which has a meta.json, or split folders."""
    if not folder.is_dir():
        return []
    project = (folder / "meta.json").is_file()
    candidates = [folder, *(child for child in folders(folder) if project or split_of([child.name]))]
    return [
        place
        for place in candidates
        if (place / "img").is_dir() and (place / "ann").is_dir() and any(of_suffix(place / "ann", ".json", deep=True))
    ]


def _stem(name: str) -> str:
    """Of a/b.jpg.json, a/b; older projects have a/b.json."""
    short = name[: -len(".json")] if name.lower().endswith(".json") else name
    return short.rpartition(".")[0] if short.lower().endswith(PICTURES) else short


def _drawn(path: Path) -> Drawn:
    try:
        told = json_files.content(path, LARGEST)
    except UserError as error:
        raise BadSampleError(str(error)) from error
    things = told.get("objects") if isinstance(told, dict) else None
    if not isinstance(things, list) or not all(isinstance(thing, dict) for thing in things):
        raise BadSampleError(f"annotation {path.name} has no list of objects")
    size = told.get("size") if isinstance(told.get("size"), dict) else {}
    return Drawn([shape for thing in things if (shape := _shape(thing))], (size.get("height"), size.get("width")))


def _shape(thing: dict[str, Any]) -> Shape | None:
    """None for what has no area. Raises BadSampleError."""
    kind, label = thing.get("geometryType"), thing.get("classTitle")
    if kind not in ("rectangle", "polygon", "bitmap"):
        remark("of Supervisely's objects, rectangles, polygons and bitmaps are read; others are left out")
        return None
    if not isinstance(label, str) or not label.strip():
        raise BadSampleError("an object has no classTitle")
    label, points = label.strip(), thing.get("points")
    group = str(thing["instance"]) if thing.get("instance") and kind != "rectangle" else None
    if kind == "bitmap":
        bitmap = thing.get("bitmap")
        if not isinstance(bitmap, dict) or not isinstance(bitmap.get("data"), str):
            raise BadSampleError("a bitmap has no data")
        x, y = (_whole(value) for value in _numbers([bitmap.get("origin")]))
        y1, x1, y2, x2 = corners_of([_unpacked(bitmap["data"])])[0]
        brushed = functools.partial(_pasted, bitmap["data"], x, y)
        return Shape(label, (x + x1, y + y1, x + x2, y + y2), True, brushed, group)
    exterior = _numbers(points.get("exterior") if isinstance(points, dict) else None)
    if kind == "rectangle":
        if len(exterior) != 4:
            raise BadSampleError(f"a rectangle of {len(exterior) // 2} points; two corners are needed")
        x1, x2 = sorted(exterior[::2])
        y1, y2 = sorted(exterior[1::2])
        return Shape(label, (x1, y1, x2 + 1, y2 + 1), outlined=False)
    interior = points.get("interior") or []
    if not isinstance(interior, list):
        raise BadSampleError("an object has no list of holes")
    # Two points cut nothing out.
    holes = [hole for one in interior if len(hole := _numbers(one)) >= 6]
    brushed = functools.partial(_with_holes, shapes.polygon(exterior), holes) if holes else None
    return Shape(label, shapes.polygon(exterior), True, brushed, group)


def _numbers(points: Any) -> list[float]:
    """x1, y1, x2, y2, ... of a list of points. Raises BadSampleError."""
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise BadSampleError("an object has no points of two numbers")
    return [number(value) for point in points for value in point]


def _whole(value: float) -> int:
    if not value.is_integer():
        raise BadSampleError(f"a bitmap that begins at {value:g}; a whole number of pixels is needed")
    return int(value)


def _unpacked(data: str) -> np.ndarray:
    """Mask (h, w) bool of a bitmap: a picture, packed by zlib and written in base64."""
    try:
        unpacking = zlib.decompressobj()
        picture = unpacking.decompress(base64.b64decode(data, validate=True), LARGEST_BITMAP)
    except (ValueError, zlib.error) as error:
        raise BadSampleError(f"a bitmap cannot be unpacked: {error}") from None
    if unpacking.unconsumed_tail:
        raise BadSampleError(f"a bitmap has more than {LARGEST_BITMAP} bytes")
    return read_opaque(picture)


def _pasted(data: str, x: int, y: int, size: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) bool of a bitmap whose top left pixel is (x, y); what is outside the image is cut."""
    bitmap, mask = _unpacked(data), np.zeros(size, bool)
    top, left = max(-y, 0), max(-x, 0)
    inside = bitmap[top : max(size[0] - y, 0), left : max(size[1] - x, 0)]
    mask[y + top : y + top + inside.shape[0], x + left : x + left + inside.shape[1]] = inside
    return mask


def _with_holes(outline: list[float], holes: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    return filled([outline], size) & ~np.any([filled([hole], size) for hole in holes], axis=0)

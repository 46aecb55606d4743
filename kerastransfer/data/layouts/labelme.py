"""labelme: a json file beside each image, with its objects as polygons, rectangles or circles.

    NAME.jpg  NAME.json: {"imagePath": "NAME.jpg", "imageHeight": ..., "shapes": [{"label", "points", "shape_type"}]}

In any depth. A json belongs to the image of its own stem. Shapes of one `group_id` are one object. A rectangle is a
box without an outline; points and lines have no area and are left out.
"""

import math
from pathlib import Path
from typing import Any

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, remark
from kerastransfer.data.layouts import json_files
from kerastransfer.data.layouts.files import images_under, of_suffix, stem
from kerastransfer.data.layouts.shapes import Drawn, Shape, dataset_of, ellipse
from kerastransfer.errors import UserError

FORM = "images with a json of labelme beside each, NAME.jpg and NAME.json"
LOOKED_AT = 3
# A json holds its image too, as text.
LARGEST = 200_000_000
OUTLINED = ("polygon", "circle")


def recognises(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    images = images_under(folder)
    beside = [path for path in _files(folder) if stem(path, folder) in images]
    return any(map(_is_labelme, beside[:LOOKED_AT]))


def read(folder: Path) -> Dataset:
    images, bad, found = images_under(folder), [], {}
    for path in _files(folder):
        name = stem(path, folder)
        try:
            shapes, size = _shapes(path)
            if name not in images:
                raise BadSampleError(f"annotation {path.name} has no image of this name")
            found[name] = Drawn([_shape(one) for one in shapes], size)
        except BadSampleError as error:
            bad.append(BadSample(name, str(error)))
            images.pop(name, None)
    return dataset_of(folder, images, found, bad)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in of_suffix(folder, ".json", deep=True) if path.name[0] != ".")


def _is_labelme(path: Path) -> bool:
    try:
        return isinstance(_shapes(path), tuple)
    except BadSampleError:
        return False


def _shapes(path: Path) -> tuple[list[dict[str, Any]], tuple[Any, Any]]:
    """The objects of a json and the size (H, W) that it states. Raises BadSampleError."""
    try:
        told = json_files.content(path, LARGEST)
    except UserError as error:
        raise BadSampleError(str(error)) from error
    shapes = told.get("shapes") if isinstance(told, dict) else None
    if not isinstance(shapes, list):
        raise BadSampleError(f"annotation {path.name} has no list of shapes")
    kept = []
    for one in shapes:
        if not isinstance(one, dict) or not isinstance(one.get("label"), str) or not one["label"].strip():
            raise BadSampleError(f"annotation {path.name}: a shape has no label")
        kind, points = one.get("shape_type") or "polygon", one.get("points")
        if not isinstance(kind, str) or not _is_points(points):
            raise BadSampleError(f"annotation {path.name}: a shape has no points of two numbers")
        if kind in ("polygon", "rectangle", "circle"):
            kept.append({"label": one["label"], "shape_type": kind, "points": points, "group": one.get("group_id")})
        else:
            remark("points, lines and masks of labelme are left out; polygons, rectangles and circles are read")
    return kept, (told.get("imageHeight"), told.get("imageWidth"))


def _is_points(points: Any) -> bool:
    return isinstance(points, list) and all(
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(value, int | float) and abs(value) < 1e9 for value in point)
        for point in points
    )


def _shape(one: dict[str, Any]) -> Shape:
    """Raises BadSampleError where the points make no shape of its kind."""
    points, kind = one["points"], one["shape_type"]
    if len(points) < (3 if kind == "polygon" else 2):
        raise BadSampleError(f"a {kind} of {len(points)} points")
    outline = [value for point in points for value in point]
    if kind == "circle":
        radius = math.dist(points[0], points[1])
        outline = ellipse(*points[0], radius, radius)
    group = None if one["group"] is None else str(one["group"])
    return Shape(one["label"], outline, kind in OUTLINED, group=group)

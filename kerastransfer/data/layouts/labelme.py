"""labelme: a json file beside each image, with its objects as polygons, rectangles or circles.

    NAME.jpg  NAME.json: {"imagePath": "NAME.jpg", "imageHeight": ..., "shapes": [{"label", "points", "shape_type"}]}

In any depth. A json belongs to the image of its own stem. Shapes of one `group_id` are one object. A rectangle is a
box without an outline; points and lines have no area and are left out.
"""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample, remark
from kerastransfer.data.layouts import json_files
from kerastransfer.data.layouts.files import images_under, split_of, stem
from kerastransfer.data.layouts.objects import filled, no_mask, objects, painted
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError

FORM = "images with a json of labelme beside each, NAME.jpg and NAME.json"
LOOKED_AT = 3
# A json holds its image too, as text.
LARGEST = 200_000_000
OUTLINED = ("polygon", "circle")
# Corners of the polygon that stands for a circle.
AROUND = 64


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
            shapes = _shapes(path)
            if name not in images:
                raise BadSampleError(f"annotation {path.name} has no image of this name")
            found[name] = shapes
        except BadSampleError as error:
            bad.append(BadSample(name, str(error)))
            images.pop(name, None)
    classes = tuple(sorted({one["label"] for shapes, _ in found.values() for one in shapes}))
    masked = any(one["shape_type"] in OUTLINED for shapes, _ in found.values() for one in shapes)
    samples = []
    for name, path in images.items():
        shapes, size = found.get(name, (None, None))
        fields = frozenset() if shapes is None else frozenset({"boxes"})
        if masked and shapes is not None and (not shapes or any(one["shape_type"] in OUTLINED for one in shapes)):
            fields |= {"masks", "segmentation"} if len(classes) < 255 else {"masks"}
        reader = Reader(path, functools.partial(_annotations, shapes, size, classes), fields)
        samples.append(Sample(name, reader, fields, split_of(name.split("/")[:-1])))
    painted_classes = ("background", *classes) if any("segmentation" in s.fields for s in samples) else ()
    return Dataset(folder.name, tuple(samples), classes, painted_classes, bad=tuple(bad))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.json") if path.name[0] != ".")


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


def _annotations(
    shapes: list[dict], stated: tuple[Any, Any], classes: tuple[str, ...], size: tuple[int, int], wanted: frozenset[str]
) -> Example:
    if all(isinstance(length, int) and length for length in stated) and tuple(stated) != size:
        raise BadSampleError(f"image of {size[1]} x {size[0]} pixels, but the json says {stated[1]} x {stated[0]}")
    grouped: dict[Any, list[dict]] = {}
    for number, one in enumerate(shapes):
        group = ("alone", number) if one["group"] is None else (str(one["group"]), one["label"])
        grouped.setdefault(group, []).append(one)
    corners, labels, masks = [], [], []
    masked = not wanted.isdisjoint({"masks", "segmentation"})
    for group in grouped.values():
        outlines = [_outline(one) for one in group]
        points = np.concatenate([np.reshape(outline, (-1, 2)) for outline in outlines])
        corners.append((*points.min(axis=0)[::-1], *points.max(axis=0)[::-1]))
        labels.append(classes.index(group[0]["label"]))
        drawn = [outline for one, outline in zip(group, outlines, strict=True) if one["shape_type"] in OUTLINED]
        if masked:
            masks.append(filled(drawn, size) if drawn else no_mask(size))
    example = objects(corners, labels, size, masks=masks if masked else None)
    if "segmentation" in wanted:
        example["segmentation"] = painted(example)
    return example


def _outline(shape: dict) -> list[float]:
    """x1, y1, x2, y2, ... Raises BadSampleError where the points make no shape of its kind."""
    points, kind = shape["points"], shape["shape_type"]
    if len(points) < (3 if kind == "polygon" else 2):
        raise BadSampleError(f"a {kind} of {len(points)} points")
    if kind != "circle":
        return [value for point in points for value in point]
    (x, y), radius = points[0], math.dist(points[0], points[1])
    angles = np.arange(AROUND) * 2 * math.pi / AROUND
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1).ravel().tolist()

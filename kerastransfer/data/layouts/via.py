"""VGG Image Annotator 2: a json that holds all images and their regions; a project, or its exported annotations.

    via_region_data.json  *.jpg             the same in train/, val/ and test/; images anywhere below by their names

    {"a.jpg123": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect", "x": 3, "y": 2, "width": 6,
    "height": 10}, "region_attributes": {"animal": "cat"}}]}}

Rectangles, polygons, circles and ellipses are read. The class is the one attribute that regions have; where they have
none, all are of the class `object`. An image without regions is an image without objects. VIA 1 stores the regions of
an image as a dict.
"""

from pathlib import Path
from typing import Any

from kerastransfer.data.dataset import BadSampleError, Dataset, remark
from kerastransfer.data.layouts import json_files, shapes
from kerastransfer.data.layouts.files import annotation_files, listed
from kerastransfer.data.layouts.shapes import Drawn, Entries, Shape, number
from kerastransfer.errors import UserError

FORM = "a json of VGG Image Annotator 2 (a project, or annotations exported as json), in a folder with its images"
NAMELESS = "object"
_PROJECT = "_via_img_metadata"


def recognises(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path) -> Dataset:
    contents = {path: _content(path) for path in _files(folder)}
    attribute = _class_attribute(contents)
    if attribute is None:
        remark(f"the regions have no attribute that names a class; all are of the class {NAMELESS}")
    return shapes.read(folder, contents, lambda path: _entries(contents[path], attribute))


def _files(folder: Path) -> list[Path]:
    return annotation_files(folder, ".json", _is_via)


def _is_via(text: str) -> bool:
    project = '"_via_settings"' in text or f'"{_PROJECT}"' in text
    return text.lstrip().startswith("{") and (project or ('"filename"' in text and '"regions"' in text))


def _content(path: Path) -> list[dict[str, Any]]:
    """What a json says of each image."""
    told = json_files.content(path)
    told = told.get(_PROJECT, told) if isinstance(told, dict) else told
    if not isinstance(told, dict) or not all(isinstance(one, dict) for one in told.values()):
        raise UserError(f"{path} has no entry for each image; a json of VGG Image Annotator 2 is needed")
    return list(told.values())


def _class_attribute(contents: dict[Path, list[dict[str, Any]]]) -> str | None:
    """The attribute that regions have, or None where they have none. Raises UserError for several."""
    used = {
        name
        for images in contents.values()
        for image in images
        for region in _regions(image)
        for name, value in _part(region, "region_attributes").items()
        if value not in ("", {}, None)
    }
    if len(used) > 1:
        raise UserError(
            f"{next(iter(contents))}: the regions have {len(used)} attributes ({listed(sorted(used))}), but one is "
            "needed, the class; remove the others in VIA, and save the json again"
        )
    return next(iter(used), None)


def _entries(images: list[dict[str, Any]], attribute: str | None) -> Entries:
    for image in images:
        name = image.get("filename")
        try:
            if not isinstance(image.get("regions"), list | dict):
                raise BadSampleError("it has no list of regions")
            drawn: Drawn | BadSampleError = Drawn(
                [shape for region in _regions(image) if (shape := _shape(region, attribute))]
            )
        except BadSampleError as error:
            drawn = error
        yield (name if isinstance(name, str) else ""), drawn


def _regions(image: dict[str, Any]) -> list[Any]:
    regions = image.get("regions")
    return list(regions.values()) if isinstance(regions, dict) else regions if isinstance(regions, list) else []


def _part(region: Any, key: str) -> dict[str, Any]:
    part = region.get(key) if isinstance(region, dict) else None
    return part if isinstance(part, dict) else {}


def _shape(region: Any, attribute: str | None) -> Shape | None:
    """None for what has no area. Raises BadSampleError."""
    told = _part(region, "shape_attributes")
    kind = told.get("name")
    if kind in ("point", "polyline"):
        remark("points and lines of VIA are left out; rectangles, polygons, circles and ellipses are read")
        return None
    try:
        if kind == "rect":
            x, y, width, height = (number(told[key]) for key in ("x", "y", "width", "height"))
            points = [x, y, x + width, y + height]
            if width <= 0 or height <= 0:
                raise BadSampleError(f"box ({x:g}, {y:g}) to ({x + width:g}, {y + height:g}) has no area")
        elif kind == "polygon":
            pairs = zip(told["all_points_x"], told["all_points_y"], strict=True)
            points = shapes.polygon([number(value) for pair in pairs for value in pair])
        elif kind in ("circle", "ellipse"):
            radii = ("r", "r") if kind == "circle" else ("rx", "ry")
            values = [number(told[key]) for key in ("cx", "cy", *radii)]
            # In radians; older versions of VIA store none.
            points = shapes.ellipse(*values, number(told.get("theta", 0)) if kind == "ellipse" else 0)
        else:
            raise BadSampleError(f"a region of the shape {json_files.shown(kind)}, which is not known")
    except (KeyError, TypeError, ValueError) as error:
        raise BadSampleError(f"a region of the shape {kind} is broken: {type(error).__name__}: {error}") from error
    return Shape(_label(_part(region, "region_attributes"), attribute), points, outlined=kind != "rect")


def _label(attributes: dict[str, Any], attribute: str | None) -> str:
    """Raises BadSampleError where a region has not one class."""
    if attribute is None:
        return NAMELESS
    value = attributes.get(attribute)
    if isinstance(value, dict):
        # Checkboxes: {option: whether it is ticked}.
        ticked = [name for name, on in value.items() if on is True]
        if len(ticked) != 1:
            raise BadSampleError(f"a region has {len(ticked)} values of {attribute} ticked; one is needed")
        value = ticked[0]
    if not isinstance(value, str) or not value.strip():
        raise BadSampleError(f"a region has no {attribute}, which is the class")
    return value.strip()

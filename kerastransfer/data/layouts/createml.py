"""Apple's Create ML: a json that lists images and their boxes, by centre and size in pixels.

    annotations.json  *.jpg                 also in train/, val/ and test/; images anywhere below by their names
    train/_annotations.createml.json  train/*.jpg       and the same in valid/ and test/, as Roboflow exports it

    [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 6, "y": 7, "width": 6, "height": 10}}]}]

An image with an empty list is an image without objects; one that is not listed is not annotated.
"""

import re
from pathlib import Path
from typing import Any

from kerastransfer.data.dataset import BadSampleError, Dataset
from kerastransfer.data.layouts import json_files, shapes
from kerastransfer.data.layouts.files import annotation_files
from kerastransfer.data.layouts.shapes import Drawn, Entries, Shape, number
from kerastransfer.errors import UserError

FORM = "a json of Create ML that lists images and their boxes, in a folder with its images"
_BEGINNING = re.compile(r'\s*\[\s*\{\s*"(image|annotations)"\s*:')
_CENTRED = ("x", "y", "width", "height")


def recognises(folder: Path) -> bool:
    return bool(_files(folder))


def read(folder: Path) -> Dataset:
    return shapes.read(folder, _files(folder), _entries)


def _files(folder: Path) -> list[Path]:
    return annotation_files(folder, ".json", _is_createml)


def _is_createml(text: str) -> bool:
    """Lists whose entries have labels without coordinates are of others."""
    keys = '"image"' in text and '"annotations"' in text
    return bool(_BEGINNING.match(text)) and keys and ('"coordinates"' in text or '"label"' not in text)


def _entries(path: Path) -> Entries:
    told = json_files.content(path)
    if not isinstance(told, list):
        raise UserError(f"{path} is no list of images; a json of Create ML is needed")
    found: list[tuple[str, Drawn | BadSampleError]] = []
    for one in told:
        name = one.get("image") if isinstance(one, dict) else None
        try:
            found.append((name if isinstance(name, str) else "", _drawn(one)))
        except BadSampleError as error:
            found.append((name if isinstance(name, str) else "", error))
    points = [value for _, drawn in found if isinstance(drawn, Drawn) for one in drawn.shapes for value in one.points]
    if points and max(points) <= 1:
        raise UserError(f"{path}: no coordinate is above 1, so they are fractions of the image; pixels are needed")
    return found


def _drawn(one: Any) -> Drawn:
    boxes = one.get("annotations") if isinstance(one, dict) else None
    if not isinstance(boxes, list):
        raise BadSampleError("it has no list of annotations")
    return Drawn([_shape(box) for box in boxes])


def _shape(box: Any) -> Shape:
    label, told = (box.get("label"), box.get("coordinates")) if isinstance(box, dict) else (None, None)
    if not isinstance(label, str) or not label.strip():
        raise BadSampleError("an annotation has no label")
    if not isinstance(told, dict) or not all(key in told for key in _CENTRED):
        raise BadSampleError(f"an annotation has no coordinates {', '.join(_CENTRED)}")
    x, y, width, height = (number(told[key]) for key in _CENTRED)
    if width <= 0 or height <= 0:
        raise BadSampleError(f"a box of {width:g} x {height:g} pixels has no area")
    return Shape(label.strip(), (x - width / 2, y - height / 2, x + width / 2, y + height / 2), outlined=False)

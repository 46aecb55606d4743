"""COCO instances: json files of images, annotations and categories, beside the folders of images.

    annotations/instances_train2017.json  instances_val2017.json     train2017/  val2017/
    train/_annotations.coco.json  train/*.jpg      and the same in valid/ and test/, as Roboflow exports it

Category ids (1 to 90, with gaps) become labels in the order of the ids. `iscrowd` becomes `crowd`; `area` is kept where
every object of an image has one. Images that no annotation names are images without objects. `segmentation` is painted
from the instances.
"""

import collections
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.inside import within
from kerastransfer.data.layouts import createml, json_files, via
from kerastransfer.data.layouts.files import split_of
from kerastransfer.data.layouts.objects import filled, objects, painted
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError

FORM = "a COCO json file, or a folder with annotations/instances_*.json or train/_annotations.coco.json"

# Whose json files are no COCO.
OTHERS = (createml, via)


def recognises(folder: Path) -> bool:
    if folder.is_file():
        # What it lacks is told when it is read.
        return folder.suffix.lower() == ".json" and not any(other.recognises(folder) for other in OTHERS)
    return bool(_files(folder))


def read(folder: Path) -> Dataset:
    files = [folder] if folder.is_file() else _files(folder)
    contents = {path: _content(path) for path in files}
    categories: dict[int, str] = {}
    for path, content in contents.items():
        for one in content["categories"]:
            name = categories.setdefault(one["id"], one["name"])
            if name != one["name"]:
                raise UserError(
                    f"{path}: category {json_files.shown(one['id'])} is called {name} and {one['name']}; each id needs "
                    "one name, the same in all json files of the data set"
                )
    named = (one.get("category_id") for content in contents.values() for one in content["annotations"])
    categories = _needed(categories, {category for category in named if isinstance(category, int)})
    label_of = {category: label for label, category in enumerate(sorted(categories))}
    samples, bad = [], []
    for path, content in contents.items():
        home = _home(path, content["images"])
        root = folder if folder.is_dir() else home.parent
        annotations = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            image_id = annotation.get("image_id")
            if isinstance(image_id, int | str) and image_id in annotations:
                annotations[image_id].append(annotation)
            else:
                bad.append(
                    BadSample(
                        f"annotation {json_files.shown(annotation.get('id'))}",
                        f"no image has its image_id {json_files.shown(image_id)}",
                    )
                )
        masked = any(annotation.get("segmentation") for annotation in content["annotations"])
        for image in content["images"]:
            found = annotations[image["id"]]
            fields = {"boxes"}
            if masked and all(annotation.get("segmentation") for annotation in found):
                fields |= {"masks", "segmentation"} if len(categories) < 255 else {"masks"}
            try:
                file = within(home / image["file_name"], home, *([folder] if folder.is_dir() else []))
                if file in (home, root):
                    raise BadSampleError("the name of its image is empty")
            except BadSampleError as error:
                bad.append(BadSample(image["file_name"], str(error)))
                continue
            name = file.relative_to(root) if file.is_relative_to(root) else file
            if file.is_relative_to(home) and not file.is_relative_to(root):
                name = Path(home.name, file.relative_to(home))
            reader = Reader(file, functools.partial(_annotations, image, found, label_of), frozenset(fields))
            owner = (image["id"], image["file_name"])
            split = split_of([path.stem, path.parent.name])
            samples.append(Sample(name.with_suffix("").as_posix(), reader, reader.fields, split, owner))
    classes = tuple(categories[category] for category in label_of)
    painted_classes = ("background", *classes) if any("segmentation" in s.fields for s in samples) else ()
    samples.sort(key=lambda sample: sample.name)
    ids = {name: category for category, name in categories.items()}
    return Dataset(folder.stem, tuple(samples), classes, painted_classes, bad=tuple(bad), category_ids=ids)


def _needed(categories: dict[int, str], used: set[Any]) -> dict[int, str]:
    """Without the categories of no object that are called as another one, or background, as exporters add them."""
    names = [name for category, name in categories.items() if category in used]
    return {
        category: name
        for category, name in categories.items()
        if category in used or (name not in names and name.lower() != "background")
    }


def _files(folder: Path) -> list[Path]:
    patterns = (
        "annotations/instances_*",
        "instances_*",
        "*/_annotations.coco*",
        "_annotations.coco*",
    )
    named = (sorted(path for path in folder.glob(one) if path.suffix.lower() == ".json") for one in patterns)
    return next((found for found in named if found), [])


def _content(path: Path) -> dict[str, list[dict[str, Any]]]:
    content = json_files.content(path)
    needed = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ("image_id",)}
    for part, keys in needed.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(
                f"{path} has no list {part!r}; a COCO instances json has images, annotations and categories"
            )
        if part != "annotations" and not all(key in entry for entry in entries for key in keys):
            raise UserError(f"{path}: an entry of {part!r} lacks one of {', '.join(keys)}, which COCO requires")
    _check_types(path, content)
    if any("segments_info" in annotation for annotation in content["annotations"]):
        raise UserError(f"{path} is a COCO panoptic json; the instances json of the same images is needed")
    return content


def _check_types(path: Path, content: dict[str, list[dict[str, Any]]]) -> None:
    """Raises UserError where ids or names could not be told apart, sorted or shown."""
    needed = (
        ("images", "id", int | str, "an image", "an integer or text"),
        ("images", "file_name", str, "an image", "text"),
        ("categories", "id", int, "a category", "an integer"),
        ("categories", "name", str, "a category", "text"),
    )
    for part, key, kind, what, wanted in needed:
        for entry in content[part]:
            if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
                raise UserError(f"{path}: {what}'s {key} is {json_files.shown(entry[key])}; {wanted} is needed")
    counts = collections.Counter(image["id"] for image in content["images"])
    twice = next((image_id for image_id, count in counts.items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: two images have the id {twice!r}; ids must differ, for annotations go by them")


def _home(path: Path, images: list[dict[str, Any]]) -> Path:
    """The folder that the file names of a json are relative to: the first of the usual ones with an image in it, else
    the first from which a name leads to one outside it."""
    split = path.stem.removeprefix("instances_")
    above = path.parent.parent
    homes = (above / split, above / "images" / split, above / "images", path.parent / split, path.parent / "images")
    homes = (*homes, path.parent, above)
    # An absolute path is there whatever the folder, so it tells nothing of where the others are.
    for inside in (True, False):
        for home in homes:
            files = (home / image["file_name"] for image in images)
            if any(_is_file(file) and (not inside or _lies_in(file, home)) for file in files):
                return home
    if images:
        raise UserError(f"{path}: none of its {len(images)} images was found; put them into {homes[0]} or {homes[2]}")
    return homes[0]


def _lies_in(file: Path, home: Path) -> bool:
    return Path(os.path.normpath(file)).is_relative_to(os.path.normpath(home))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # The name is too long for a file system, or has a character that none takes.
        return False


def _annotations(
    image: dict, annotations: list[dict], label_of: dict[int, int], size: tuple[int, int], wanted: frozenset[str]
) -> Example:
    if (image.get("height", size[0]), image.get("width", size[1])) != size:
        said = " x ".join(json_files.shown(image.get(side)) for side in ("width", "height"))
        raise BadSampleError(f"image of {size[1]} x {size[0]} pixels, but the json says {said}")
    try:
        unknown = {a["category_id"] for a in annotations} - label_of.keys()
        if unknown:
            raise BadSampleError(f"category_id {min(unknown)} is not in the json's categories")
        labels = [label_of[a["category_id"]] for a in annotations]
        corners = [(y, x, y + height, x + width) for x, y, width, height in (a["bbox"] for a in annotations)]
        crowd = [bool(a.get("iscrowd", 0)) for a in annotations]
        masked = not wanted.isdisjoint({"masks", "segmentation"})
        masks = [_mask(a["segmentation"], size) for a in annotations] if masked else None
        stated = all("area" in a for a in annotations)
        area = [float(a["area"]) for a in annotations] if stated else None
        example = objects(corners, labels, size, crowd=crowd, masks=masks, area=area)
    except OverflowError:
        # Raised where such an integer is added to a float, or is an area.
        raise BadSampleError("an annotation of it has a number that is too large; pixels are needed") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        # Malformed run lengths raise RuntimeError.
        raise BadSampleError(f"an annotation of it is broken: {type(error).__name__}: {error}") from error
    if "segmentation" in wanted:
        example["segmentation"] = painted(example)
    return example


def _mask(segmentation: list | dict, size: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) bool of polygons, of a list of run lengths, or of compressed run lengths."""
    if isinstance(segmentation, list):
        return filled(segmentation, size)
    if tuple(segmentation["size"]) != size:
        raise BadSampleError(f"a run-length mask of size {segmentation['size']}, but the image has {list(size)}")
    if isinstance(segmentation["counts"], list):
        if sum(segmentation["counts"]) != size[0] * size[1]:
            raise BadSampleError(f"run lengths that add up to {sum(segmentation['counts'])}, not to the image's pixels")
        segmentation = coco_mask.frPyObjects(segmentation, *size)
    return coco_mask.decode(segmentation).astype(bool)

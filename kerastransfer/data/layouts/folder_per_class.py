"""Classification: CLASS/*.jpg, or train/CLASS/*.jpg and the same for validation and test."""

import functools
import re
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import Dataset, Example, Sample
from kerastransfer.data.layouts.files import folders, has_images, images_under, split_of
from kerastransfer.data.reading import Reader

FORM = "a folder of images per class, at the top or inside train/, validation/ and test/"

_IMAGES = re.compile(r"(images?|photos?|pictures?)[_-]?\d*")
_MASKS = re.compile(r"((gt|seg)[_-]?)?(masks?|labels?|annotations?|segmentations?|ground_?truths?)[_-]?\d*")


def recognises(folder: Path) -> bool:
    return folder.is_dir() and bool(_class_folders(folder))


def read(folder: Path) -> Dataset:
    found = _class_folders(folder)
    classes = tuple(sorted({path.name for path in found}))
    samples = []
    for path in found:
        label = classes.index(path.name)
        split = None if path.parent == folder else split_of([path.parent.name])
        for stem, image in images_under(path).items():
            name = f"{path.relative_to(folder).as_posix()}/{stem}"
            reader = Reader(image, functools.partial(_label, label), frozenset({"label"}))
            samples.append(Sample(name, reader, reader.fields, split))
    samples.sort(key=lambda sample: sample.name)
    return Dataset(folder.name, tuple(samples), image_classes=classes)


def _class_folders(folder: Path) -> list[Path]:
    """Where every folder is a split, the folders in them; a class is never called train, nor images or masks."""
    children = folders(folder)
    if children and all(split_of([child.name]) for child in children):
        children = [grandchild for child in children for grandchild in folders(child)]
    names = [child.name.lower() for child in children]
    reserved = {"images", "masks", "labels", "annotations"}
    # images_256/ and labels_256/ are one data set of another form; a class may well be called mask.
    paired = any(map(_IMAGES.fullmatch, names)) and any(map(_MASKS.fullmatch, names))
    if paired or not reserved.isdisjoint(names) or any(split_of([name]) for name in names):
        return []
    filled = [child for child in children if any(child.iterdir())]
    return filled if all(has_images(child) and not folders(child) for child in filled) else []


def _label(label: int, size: tuple[int, int], wanted: frozenset[str]) -> Example:
    return {"label": np.asarray(label, np.int32)}

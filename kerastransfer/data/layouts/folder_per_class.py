"""Classification: CLASS/*.jpg, or train/CLASS/*.jpg and the same for validation and test.

train.txt, val.txt and test.txt beside the folders, or beside the folder that holds them, may list CLASS/FILE of each
split, a line each.
"""

import functools
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import Dataset, Example, Sample
from kerastransfer.data.layouts import folder_pairs, image_list, masks_beside
from kerastransfer.data.layouts.files import folders, has_images, images_under, lines, split_of
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError

FORM = "a folder of images per class, at the top or inside train/, validation/ and test/"
# Whose folders of images are no classes.
OTHERS = (folder_pairs, masks_beside)


def recognises(folder: Path) -> bool:
    names = {path.name for path in _class_folders(folder)} if folder.is_dir() else set()
    if len(names) == 1 and (has_images(folder) or image_list.recognises(folder)):
        # A folder of photos beside others, or beside the list of their labels.
        return False
    return bool(names) and not any(other.recognises(folder) for other in OTHERS)


def read(folder: Path) -> Dataset:
    found = _class_folders(folder)
    classes = tuple(sorted({path.name for path in found}))
    samples, splits = [], _splits(folder)
    for path in found:
        label = classes.index(path.name)
        split = None if path.parent == folder else split_of([path.parent.name])
        for stem, image in images_under(path).items():
            name = f"{path.relative_to(folder).as_posix()}/{stem}"
            reader = Reader(image, functools.partial(_label, label), frozenset({"label"}))
            own = path.relative_to(folder) / image.name
            samples.append(Sample(name, reader, reader.fields, split or splits.get(own.as_posix())))
    samples.sort(key=lambda sample: sample.name)
    return Dataset(folder.name, tuple(samples), image_classes=classes)


def _splits(folder: Path) -> dict[str, str]:
    """The split of each file that train.txt, val.txt or test.txt, in the folder or above it, lists as CLASS/FILE."""
    splits = {}
    for home in (folder.parent, folder):
        for name in ("train", "val", "test"):
            if not (home / f"{name}.txt").is_file():
                continue
            try:
                splits |= {line: split_of([name]) for line in lines(home / f"{name}.txt")}
            except UserError:
                # A file above the data set need not belong to it.
                if home == folder:
                    raise
    return splits


def _class_folders(folder: Path) -> list[Path]:
    """Where every folder is a split, the folders in them; a class is never called train, nor images or masks."""
    children = folders(folder)
    if children and all(split_of([child.name]) for child in children):
        children = [grandchild for child in children for grandchild in folders(child)]
    reserved = {"images", "masks", "labels", "annotations"}
    names = [child.name.lower() for child in children]
    if not reserved.isdisjoint(names) or any(split_of([name]) for name in names):
        return []
    filled = [child for child in children if any(child.iterdir())]
    return filled if all(has_images(child) and not folders(child) for child in filled) else []


def _label(label: int, size: tuple[int, int], wanted: frozenset[str]) -> Example:
    return {"label": np.asarray(label, np.int32)}

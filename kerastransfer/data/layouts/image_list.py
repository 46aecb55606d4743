"""Classification by lists: csv or txt files with an image and its label in a line, with or without a header.

    train.csv  test.csv             photos/a.jpg,cat                 a.jpg 0

The header names the columns (file, image, path, ... and label, class, category, ...); without one there are two. Whole
numbers are labels in their order, which classes.txt or labels.txt names, one a line. A list called train, val or test
is the owner's split.
"""

import functools
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.layouts.files import lines, split_of, stem
from kerastransfer.data.layouts.tables import FILE, Images, column, files_in, rows
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError

FORM = "a csv or txt file with an image and a label in each line, or a folder with such lists"
LABEL = ("label", "labels", "class", "class_name", "category", "target", "species", "breed", "label_name", "class_id")
NAMES = ("classes.txt", "labels.txt", "names.txt")
# Lines that are looked at to see whether a file is such a list.
LOOKED_AT = 20


def recognises(folder: Path) -> bool:
    return any(map(_is_list, files_in(folder)))


def read(folder: Path) -> Dataset:
    tables = [path for path in files_in(folder) if _is_list(path)]
    root = folder if folder.is_dir() else folder.parent
    labels: dict[Path, tuple[str, str | None]] = {}
    bad = []
    for table in tables:
        images, split = Images(table), split_of(table.stem.replace("-", "_").split("_"))
        for name, label in _entries(table):
            try:
                file = images.file(name)
            except BadSampleError as error:
                bad.append(BadSample(name, str(error)))
                continue
            if file in labels and labels[file][0] != label:
                bad.append(BadSample(name, f"labelled {labels[file][0]} and {label}; the first is kept"))
            labels.setdefault(file, (label, split))
    found = {label for label, _ in labels.values()}
    numbers = all(label.isdecimal() and len(label) < 7 for label in found)
    ordered = sorted(found, key=int) if numbers else sorted(found)
    named = next((root / name for name in NAMES if (root / name).is_file()), None) if numbers else None
    names = dict(enumerate(lines(named))) if named else {}
    if names and int(ordered[-1]) not in names:
        raise UserError(f"{named} names {len(names)} classes, but there is a label {ordered[-1]}; name all, from 0")
    # Ids without a name in the middle are classes too: their order is that of the names.
    classes = tuple(names.values()) if names else tuple(ordered)
    label_of = {label: int(label) if names else number for number, label in enumerate(ordered)}
    samples = []
    for file, (label, split) in labels.items():
        name = stem(file, root) if file.is_relative_to(root) else file.with_suffix("").as_posix()
        reader = Reader(file, functools.partial(_label, label_of[label]), frozenset({"label"}))
        samples.append(Sample(name, reader, reader.fields, split))
    return Dataset(root.name, tuple(samples), image_classes=classes, bad=tuple(bad))


def _is_list(path: Path) -> bool:
    """Whether most of its first lines name an image that is there, and a label."""
    if path.name.lower() in NAMES:
        return False
    try:
        entries = list(_entries(path, LOOKED_AT))
    except UserError:
        return False
    images = Images(path)
    return bool(entries) and sum(name in images for name, _ in entries) * 2 > len(entries)


def _entries(path: Path, most: int | None = None) -> list[tuple[str, str]]:
    """(image, label) of each line. Raises UserError for a file that is no table."""
    table = rows(path, most)
    file, label = (column(table[0], names) for names in (FILE, LABEL)) if table else (None, None)
    if file is not None and label is not None and file != label:
        if column(table[0], ("xmin", "x1", "bbox")) is not None:
            return []
        return [
            (row[file], row[label]) for row in table[1:] if len(row) > max(file, label) and row[file] and row[label]
        ]
    pairs = [(row[0], row[1]) for row in table if len(row) == 2 and row[0] and row[1]]
    if most is None and len(pairs) < len(table):
        raise UserError(f"{path}: a line has no image and label; two values are needed, or a header that names them")
    if len(pairs) < len(table):
        return []
    # Kaggle's id,breed has a header of other words.
    return (
        pairs[1:]
        if pairs and pairs[0][0] not in Images(path) and len(pairs) > 1 and pairs[1][0] in Images(path)
        else pairs
    )


def _label(label: int, size: tuple[int, int], wanted: frozenset[str]) -> Example:
    return {"label": np.asarray(label, np.int32)}

"""Boxes in tables: csv files with a line for each box, in pixels, whose header names the columns.

    filename,width,height,class,xmin,ymin,xmax,ymax        as TensorFlow's object detection and Kaggle have it

Tables may lie at the top or in train/, valid/ and test/. x1, y1, x2, y2 are fine too, and so is
`path,x1,y1,x2,y2,class` without a header, as keras-retinanet has it; there a line with nothing but the path is an image
without objects. Images that no line names are not annotated.
"""

import functools
from pathlib import Path

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.layouts.files import folders, split_of, stem
from kerastransfer.data.layouts.objects import objects
from kerastransfer.data.layouts.tables import FILE, Images, column, files_in, rows
from kerastransfer.data.reading import Reader

FORM = "a csv file with the columns filename, class, xmin, ymin, xmax and ymax, or a folder with such tables"
CLASS = ("class", "label", "class_name", "category", "name", "label_name")
CORNERS = (("ymin", "y1"), ("xmin", "x1"), ("ymax", "y2"), ("xmax", "x2"))
SIZE = (("height",), ("width",))
# Lines that are looked at to see whether a file is such a table.
LOOKED_AT = 5

# Of a line: image, class, corners (y1, x1, y2, x2), and the size of the image, as text.
Line = tuple[str, str, list[str], list[str]]


def recognises(folder: Path) -> bool:
    return any(_is_table(path) for path in _tables(folder))


def read(folder: Path) -> Dataset:
    root = folder if folder.is_dir() else folder.parent
    found: dict[Path, tuple[list[Line], str | None]] = {}
    bad = []
    for table in filter(_is_table, _tables(folder)):
        images = Images(table)
        split = split_of([*table.parent.relative_to(root).parts, *table.stem.replace("-", "_").split("_")])
        for line in _lines(rows(table)):
            try:
                found.setdefault(images.file(line[0]), ([], split))[0].append(line)
            except BadSampleError as error:
                bad.append(BadSample(line[0], str(error)))
    classes = tuple(sorted({line[1] for lines, _ in found.values() for line in lines} - {""}))
    samples = []
    for file, (lines, split) in found.items():
        name = stem(file, root) if file.is_relative_to(root) else file.with_suffix("").as_posix()
        reader = Reader(file, functools.partial(_boxes, lines, classes), frozenset({"boxes"}))
        samples.append(Sample(name, reader, reader.fields, split))
    return Dataset(root.name, tuple(samples), classes, bad=tuple(bad))


def _tables(folder: Path) -> list[Path]:
    inside = [child for child in folders(folder) if split_of([child.name])] if folder.is_dir() else []
    return [path for home in (folder, *inside) for path in files_in(home) if path.suffix.lower() == ".csv"]


def _is_table(path: Path) -> bool:
    try:
        return bool(_lines(rows(path, LOOKED_AT)))
    except Exception:
        return False


def _lines(table: list[list[str]]) -> list[Line]:
    """Nothing where the columns are others."""
    if not table:
        return []
    header = table[0]
    columns = [column(header, names) for names in CORNERS]
    file, name = column(header, FILE), column(header, CLASS)
    if None not in (*columns, file, name):
        size = [column(header, names) for names in SIZE]
        most = max(*columns, file, name)
        return [
            (row[file], row[name], [row[k] for k in columns], [row[k] for k in size if k is not None and k < len(row)])
            for row in table[1:]
            if len(row) > most
        ]
    if any(len(row) != 6 or not (_are_numbers(row[1:5]) or not any(row[1:])) for row in table):
        return []
    return [(row[0], row[5], [row[2], row[1], row[4], row[3]] if row[1] else [], []) for row in table]


def _are_numbers(values: list[str]) -> bool:
    try:
        return len([float(value) for value in values]) > 0
    except ValueError:
        return False


def _boxes(lines: list[Line], classes: tuple[str, ...], size: tuple[int, int], wanted: frozenset[str]) -> Example:
    try:
        for _, _, _, stated in lines:
            if len(stated) == 2 and all(stated) and (said := tuple(int(float(one)) for one in stated)) != size:
                raise BadSampleError(f"image of {size[1]} x {size[0]} pixels, but the table says {said[1]} x {said[0]}")
        boxed = [line for line in lines if line[1] or any(line[2])]
        corners = [[float(value) for value in line[2]] for line in boxed]
        labels = [classes.index(line[1]) for line in boxed]
    except (ValueError, OverflowError) as error:
        raise BadSampleError(f"a line of it is broken: {error}") from error
    return objects(corners, labels, size)

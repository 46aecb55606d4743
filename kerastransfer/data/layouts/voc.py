"""PASCAL VOC: a devkit, one of its years, or any folder of that form.

    [VOCdevkit/][VOC2012/]JPEGImages/  Annotations/NAME.xml  SegmentationClass/  SegmentationObject/  ImageSets/

In place of JPEGImages/ and Annotations/ there may be images/ and annotations/, as LabelImg and other tools are used.

Boxes count from 1 and include their ends (devkit_doc, section on annotation); Object k of the
xml is index k in SegmentationObject. 255 is void in both. A box whose ends meet in a point or a line has no area:
nobody draws an object one pixel wide, it is a slip of the annotator's. Where the names are VOC's own, labels follow
VOC's order; else the order of the alphabet. Where SegmentationClass/ has colours, a labelmap.txt says what they mean
(`colour_table`), as CVAT exports it; a SegmentationObject/ that has colours and no indices is then left out.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.images import has_colours, has_palette, read_mask
from kerastransfer.data.inside import within
from kerastransfer.data.layouts.colour_table import LOOKED_AT, ColourTable, indices, table_of
from kerastransfer.data.layouts.files import folders, images_under, lines, of_suffix, xml
from kerastransfer.data.layouts.objects import objects
from kerastransfer.data.reading import Reader
from kerastransfer.vocabulary import VOID

FORM = (
    "a folder with JPEGImages/ and Annotations/*.xml (or SegmentationClass/), or VOCdevkit/ above it, or images/ and "
    "annotations/*.xml"
)

# fmt: off
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle",
    "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person",
    "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on


def recognises(folder: Path) -> bool:
    return bool(_years(folder))


def read(folder: Path) -> Dataset:
    years = _years(folder)
    roots, bad = {}, []
    for year in years:
        for path in sorted(of_suffix(_home(year, "Annotations"), ".xml")):
            try:
                roots[path] = xml(path)
            except BadSampleError as error:
                bad.append(BadSample(_name(year, path.stem, years), str(error)))
    classes = classes_of(roots.values())
    tables = (table_of(year, [*images_under(year / "SegmentationClass").values()]) for year in years)
    table = next(filter(None, tables), None)
    broken = {one.name for one in bad}
    samples = []
    for year in years:
        photos = _home(year, "JPEGImages")
        images, splits = images_under(photos), _splits(year)
        segmentations = images_under(year / "SegmentationClass")
        instances = images_under(year / "SegmentationObject")
        if table is not None and any(_only_coloured(path) for path in [*instances.values()][:LOOKED_AT]):
            # No table says which of its colours is which object.
            instances = {}
        described = {path.stem: root for path, root in roots.items() if path.parent.parent == year}
        for stem in sorted({*images, *described, *segmentations, *splits}):
            name = _name(year, stem, years)
            if name in broken:
                continue
            files = {"segmentation": segmentations.get(stem), "masks": instances.get(stem)}
            fields = {field for field, path in files.items() if path is not None} | {"boxes"}
            if stem not in described:
                fields -= {"boxes", "masks"}
            try:
                image = images[stem] if stem in images else within(photos / f"{stem}.jpg", photos)
            except BadSampleError as error:
                bad.append(BadSample(name, str(error)))
                continue
            annotate = functools.partial(annotations, described.get(stem), files, classes, table=table)
            reader = Reader(image, annotate, frozenset(fields))
            samples.append(Sample(name, reader, reader.fields, splits.get(stem)))
    has_segmentation = any("segmentation" in sample.fields for sample in samples)
    painted_classes = (table.classes if table else ("background", *classes)) if has_segmentation else ()
    return Dataset(folder.name, tuple(samples), classes, painted_classes, bad=tuple(bad))


def _years(folder: Path) -> list[Path]:
    """The folders of the VOC form in `folder`: itself, VOC2012/ in it, or VOCdevkit/VOC2012/ in it."""

    def fits(year: Path) -> bool:
        annotated = any(of_suffix(_home(year, "Annotations"), ".xml")) or (year / "SegmentationClass").is_dir()
        return _home(year, "JPEGImages").is_dir() and annotated

    if not folder.is_dir():
        return []
    if fits(folder):
        return [folder]
    devkit = folder / "VOCdevkit" if (folder / "VOCdevkit").is_dir() else folder
    return [year for year in folders(devkit) if year.name.startswith("VOC") and fits(year)]


def _only_coloured(mask: Path) -> bool:
    """Whether a mask has colours and no indices."""
    try:
        return has_colours(mask) and not has_palette(mask)
    except BadSampleError:
        # It is reported when its sample is read.
        return False


def _home(year: Path, name: str) -> Path:
    """The folder of this name, or where there is none what label tools call it."""
    other = year / {"JPEGImages": "images", "Annotations": "annotations"}[name]
    return year / name if (year / name).is_dir() or not other.is_dir() else other


def classes_of(roots: Iterable[ElementTree.Element]) -> tuple[str, ...]:
    """VOC's classes where all objects are of these, else their names."""
    found = names_of(roots)
    return CLASSES if set(found) <= set(CLASSES) else found


def names_of(roots: Iterable[ElementTree.Element]) -> tuple[str, ...]:
    """The names of all objects, in the order of the alphabet."""
    return tuple(sorted({_class(thing) for root in roots for thing in root.iter("object")} - {""}))


def _class(thing: ElementTree.Element) -> str:
    return thing.findtext("name", "").strip()


def _name(year: Path, stem: str, years: list[Path]) -> str:
    return stem if len(years) == 1 else f"{year.name}/{stem}"


def _splits(year: Path) -> dict[str, str]:
    """The owner's split by stem; the segmentation lists come last: they hold where the two tasks differ."""
    splits = {}
    for task in ("Main", "Segmentation"):
        for file, split in (("trainval", "train"), ("train", "train"), ("val", "val"), ("test", "test")):
            path = year / "ImageSets" / task / f"{file}.txt"
            if path.is_file():
                splits |= {line.split()[0]: split for line in lines(path)}
    return splits


def annotations(
    annotation: ElementTree.Element | None,
    files: dict[str, Path | None],
    classes: tuple[str, ...],
    size: tuple[int, int],
    wanted: frozenset[str],
    *,
    table: ColourTable | None = None,
) -> Example:
    """What an xml and, where `files` has them, masks say of an image of `size` (H, W). Raises BadSampleError."""
    example = {}
    if not wanted.isdisjoint({"boxes", "masks"}):
        check_size(annotation, size)
        things = list(annotation.iter("object"))
        if not all(map(_class, things)):
            raise BadSampleError("an object has no name")
        masks = _instances(read_mask(files["masks"], size), len(things)) if "masks" in wanted else None
        example |= objects(
            [corners(thing) for thing in things],
            [classes.index(_class(thing)) for thing in things],
            size,
            masks=masks,
            **_flags(things),
        )
    if "segmentation" in wanted:
        mask = files["segmentation"]
        example["segmentation"] = table.segmentation(mask, size) if table else indices(mask, size)
    return example


def _flags(things: list[ElementTree.Element]) -> dict[str, list[bool]]:
    """`difficult`, and those of the other flags that an object of the image states (VOC2007 has no `occluded`)."""
    stated = {
        "difficult",
        *(flag for flag in ("truncated", "occluded") if any(one.find(flag) is not None for one in things)),
    }
    return {flag: [one.findtext(flag, "0").strip() == "1" for one in things] for flag in stated}


def check_size(annotation: ElementTree.Element, size: tuple[int, int]) -> None:
    """Raises BadSampleError where the xml states another size than the image's (H, W); zeros and none state nothing."""
    try:
        said = tuple(int(annotation.findtext(f"size/{side}", "0")) for side in ("height", "width"))
    except ValueError:
        raise BadSampleError("the size in the xml is not a number") from None
    if all(said) and said != size:
        raise BadSampleError(f"image of {size[1]} x {size[0]} pixels, but the xml says {said[1]} x {said[0]}")


def corners(thing: ElementTree.Element) -> tuple[float, float, float, float]:
    """(y1, x1, y2, x2) in pixels from 0, the end excluded, of an `object` element. Raises BadSampleError."""
    try:
        x1, y1, x2, y2 = (float(thing.find("bndbox").findtext(end)) for end in ("xmin", "ymin", "xmax", "ymax"))
    except (AttributeError, TypeError, ValueError):
        name = thing.findtext("name", "without a name")
        raise BadSampleError(f"object {name} has no bndbox of xmin, ymin, xmax and ymax") from None
    if x1 >= x2 or y1 >= y2:
        raise BadSampleError(f"box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) has no area")
    return y1 - 1, x1 - 1, y2, x2


def _instances(indices: np.ndarray, count: int) -> np.ndarray:
    present = indices[indices != VOID].max(initial=0)
    if present > count:
        raise BadSampleError(f"object mask holds index {present}, but the xml has {count} objects")
    return indices == np.arange(1, count + 1)[:, None, None]

"""Boxes in xml files of the VOC form, wherever they lie: beside the images, or in any folder at or below the given one.

An xml belongs to the image of its own stem, else to the one that its `filename` names; of several, to the one whose
path is most like its own. An image without an xml is not annotated. `voc` tells what the xml means.
"""

import functools
import itertools
from pathlib import Path
from xml.etree import ElementTree

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Sample
from kerastransfer.data.layouts import voc
from kerastransfer.data.layouts.files import images_under, of_suffix, split_of, stem, xml
from kerastransfer.data.reading import Reader

FORM = "images, and xml files of the VOC form, in any folders"
# Files that are looked at to see whether the xml files of a folder are of this form.
LOOKED_AT = 3


def recognises(folder: Path) -> bool:
    return folder.is_dir() and any(map(_is_voc, _files(folder)[:LOOKED_AT])) and bool(images_under(folder))


def read(folder: Path) -> Dataset:
    images = images_under(folder)
    by_stem: dict[str, list[str]] = {}
    for name, path in images.items():
        by_stem.setdefault(path.stem, []).append(name)
    found: dict[str, ElementTree.Element] = {}
    bad, broken = [], set()
    for path in _files(folder):
        own = stem(path, folder)
        try:
            root = xml(path)
        except BadSampleError as error:
            # Its image is annotated, but nobody can say how.
            broken |= {name for name in by_stem.get(path.stem, ()) if name == _nearest(own, by_stem[path.stem])}
            bad.append(BadSample(own, str(error)))
            continue
        if root.tag != "annotation":
            continue
        stated = Path(root.findtext("filename", "").replace("\\", "/")).stem
        name = _nearest(own, by_stem.get(path.stem) or by_stem.get(stated) or [])
        if name is None:
            bad.append(BadSample(own, f"annotation {path.name} has no image of this name"))
        elif name in found:
            bad.append(BadSample(own, f"annotation {path.name} is a second one of image {name}"))
        else:
            found[name] = root
    # Not the twenty of VOC where they are a few of these: nothing else says that this is VOC.
    classes = voc.names_of(found.values())
    samples = []
    for name, path in images.items():
        if name in broken:
            continue
        fields = frozenset({"boxes"} if name in found else ())
        annotate = functools.partial(voc.annotations, found.get(name), {}, classes)
        samples.append(Sample(name, Reader(path, annotate, fields), fields, split_of(name.split("/")[:-1])))
    return Dataset(folder.name, tuple(samples), classes, bad=tuple(bad))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in of_suffix(folder, ".xml", deep=True) if path.name[0] != ".")


def _is_voc(path: Path) -> bool:
    try:
        root = xml(path)
    except BadSampleError:
        return False
    return root.tag == "annotation" and any(thing.find("bndbox") is not None for thing in root.iter("object"))


def _nearest(own: str, names: list[str]) -> str | None:
    """Of the names of images the one that has most of the path in common with an annotation's, or None."""

    def alike(name: str) -> tuple[int, int]:
        folders, others = Path(own).parent.parts, Path(name).parent.parts
        shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(folders, others, strict=False))
        return len(list(shared)), len(set(folders) & set(others))

    return max(names, key=alike, default=None)

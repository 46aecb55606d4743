"""Penn-Fudan pedestrians: PNGImages/NAME.png, PedMasks/NAME_mask.png (k = person k), Annotation/NAME.txt.

Boxes are the owner's (PASCAL 1.00 text: from 1, ends included), one per mask; without Annotation/ they are taken from
the masks. There is no official split.
"""

import functools
import re
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSampleError, Dataset, Example, Sample
from kerastransfer.data.images import read_mask
from kerastransfer.data.layouts.files import images_under
from kerastransfer.data.layouts.objects import corners_of, objects, painted
from kerastransfer.data.reading import Reader

FORM = "a folder with PNGImages/ and PedMasks/"

# A number of more digits is no pixel, and int refuses very long ones.
_BOX = re.compile(r"Bounding box for object \d+ .*: \((\d{1,9}), (\d{1,9})\) - \((\d{1,9}), (\d{1,9})\)")


def recognises(folder: Path) -> bool:
    return (folder / "PNGImages").is_dir() and (folder / "PedMasks").is_dir()


def read(folder: Path) -> Dataset:
    images, masks = images_under(folder / "PNGImages"), images_under(folder / "PedMasks")
    stems = sorted({*images, *(mask.removesuffix("_mask") for mask in masks)})
    fields = frozenset({"boxes", "masks", "segmentation"})
    images = {stem: folder / "PNGImages" / f"{stem}.png" for stem in stems}
    readers = {stem: Reader(images[stem], functools.partial(_annotations, folder, stem), fields) for stem in stems}
    samples = (Sample(stem, reader, fields) for stem, reader in readers.items())
    return Dataset(folder.name, tuple(samples), ("person",), ("background", "person"))


def _annotations(folder: Path, stem: str, size: tuple[int, int], wanted: frozenset[str]) -> Example:
    indices = read_mask(folder / "PedMasks" / f"{stem}_mask.png", size)
    masks = indices == np.arange(1, indices.max() + 1)[:, None, None]
    annotation = folder / "Annotation" / f"{stem}.txt"
    corners = _corners(annotation) if annotation.parent.is_dir() else corners_of(masks)
    if len(corners) != len(masks):
        raise BadSampleError(f"{len(corners)} boxes in {annotation.name}, but {len(masks)} persons in the mask")
    example = objects(corners, np.zeros(len(masks)), size, masks=masks)
    return example | {"segmentation": painted(example)}


def _corners(annotation: Path) -> list[tuple[int, int, int, int]]:
    try:
        text = annotation.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSampleError(f"annotation {annotation.name} cannot be read: {error}") from error
    return [(y1 - 1, x1 - 1, y2, x2) for x1, y1, x2, y2 in (map(int, box) for box in _BOX.findall(text))]

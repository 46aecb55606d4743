"""Images and masks: masks/ mirrors images/, at the top or inside train/, validation/ and test/.

All masks are looked at to see what their values mean, with the help of an optional classes.txt (one name a line):

    JPEG masks                    below 128 background, from 128 on foreground
    0 and 255                     background and foreground
    0 and 1, perhaps 255          background and foreground, 255 is void
    other values                  the index of the class, 255 is void

classes.txt names the values 0, 1, 2, ...; where its first name is not "background", every value counts one more, so
that 0 stays background. For the first three kinds it may name the foreground alone. A mask with a value that none of
this explains is a bad sample. An image without a mask is not annotated. Where masks have colours, a table beside the
folders says what they mean (`colour_table`).
"""

import concurrent.futures
import dataclasses
import functools
import re
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample, remark
from kerastransfer.data.images import read_mask
from kerastransfer.data.layouts.colour_table import ColourTable, indices, table_of
from kerastransfer.data.layouts.files import images_under, lines, places, split_of
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

FORM = "images/ and masks/ side by side, at the top or inside train/, validation/ and test/"
# More values than these are greys, not classes.
MOST_UNNAMED = 64
# For masks in JPEG, whose two values are blurred.
FOREGROUND_FROM = 128


@dataclasses.dataclass(frozen=True)
class Values:
    """classes: of the masks. meaning: {value in a mask: class, or VOID}; other values are not known."""

    classes: tuple[str, ...]
    meaning: dict[int, int]

    def segmentation(self, file: Path, size: tuple[int, int]) -> np.ndarray:
        """Segmentation (H, W) uint8 of a mask. Raises BadSampleError, also where a value is not known."""
        mask, unknown = indices(file, size), -1
        table = np.full(max(256, int(mask.max()) + 1), unknown, np.int16)
        table[list(self.meaning)] = list(self.meaning.values())
        segmentation = table[mask]
        if segmentation.min() == unknown:
            known = sorted(self.meaning.keys() - {VOID} if len(self.meaning) > 2 else self.meaning)
            listed = f"{known[0]} and {known[-1]}" if len(known) < 3 else f"{known[0]} to {known[-1]}"
            wrong = mask[segmentation == unknown].max()
            raise BadSampleError(f"mask holds value {wrong}, but the known values are {listed}")
        return segmentation.astype(np.uint8)


def recognises(folder: Path) -> bool:
    return bool(places(folder, "images", "masks"))


def read(folder: Path) -> Dataset:
    pairs = {}
    for place in places(folder, "images", "masks"):
        images = images_under(place / "images")
        masks = {stem.removesuffix("_mask"): path for stem, path in images_under(place / "masks").items()}
        prefix = "" if place == folder else f"{place.name}/"
        pairs |= {prefix + stem: (images.get(stem), masks.get(stem)) for stem in {*images, *masks}}
    return dataset_of(folder, pairs)


def dataset_of(folder: Path, pairs: dict[str, tuple[Path | None, Path | None]]) -> Dataset:
    """The data set of {name: (image, mask)}, of which either may be missing."""
    samples, bad = [], []
    masks = [mask for image, mask in pairs.values() if image and mask]
    values = table_of(folder, masks) or _values(folder, masks)
    for name, (image, mask) in sorted(pairs.items()):
        if image is None:
            bad.append(BadSample(name, f"mask {mask.name} has no image"))
            continue
        fields = frozenset({"segmentation"} if mask else ())
        reader = Reader(image, functools.partial(_segmentation, mask, values), fields)
        samples.append(Sample(name, reader, fields, split_of(re.split(r"[/_]", name.rpartition("/")[0]))))
    return Dataset(folder.name, tuple(samples), segmentation_classes=values.classes, bad=tuple(bad))


def _values(folder: Path, masks: list[Path]) -> Values:
    named = next((home / "classes.txt" for home in (folder, folder.parent) if (home / "classes.txt").is_file()), None)
    names = tuple(lines(named)) if named else ()
    background = bool(names) and names[0].lower().strip("_") == "background"
    two = ("background", names[-1] if len(names) > background else "foreground")
    at_most_one = len(names) <= 1 + background
    jpeg = any(map(_is_jpeg, masks))
    if jpeg and not at_most_one:
        raise UserError(f"{named} names {len(names)} classes, but JPEG masks hold greys; store the masks as PNG")
    if jpeg:
        return Values(two, {value: int(value >= FOREGROUND_FROM) for value in range(256)})
    if not at_most_one:
        first = 0 if background else 1
        meaning = {value: value + first for value in range(len(names))}
        return Values(names if background else ("background", *names), meaning | {VOID: VOID})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        seen = set().union(*pool.map(_present, masks))
    if {1, VOID} <= seen and (seen <= {0, 1, VOID} or names):
        remark("masks/ hold 0, 1 and 255; 255 is read as void, not as foreground")
    if seen <= {0, 1, VOID} or names:
        return Values(two, {0: 0, 1: 1, VOID: VOID} if 1 in seen else {0: 0, VOID: 1})
    seen -= {VOID}
    if len(seen) > MOST_UNNAMED:
        raise UserError(
            f"{folder}: the masks hold {len(seen)} different values; name the classes in classes.txt, one a line, "
            "or store masks of one class with 0 and 255"
        )
    numbers = range(max(seen) + 1)
    return Values(("background", *(f"class {k}" for k in numbers[1:])), {k: k for k in numbers} | {VOID: VOID})


def _is_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\xff\xd8"


def _present(path: Path) -> set[int]:
    """The values in a mask; none in one that cannot be read: it is reported when its sample is."""
    try:
        return set(np.unique(read_mask(path)).tolist())
    except BadSampleError:
        return set()


def _segmentation(mask: Path, values: Values | ColourTable, size: tuple[int, int], wanted: frozenset[str]) -> Example:
    return {"segmentation": values.segmentation(mask, size)}

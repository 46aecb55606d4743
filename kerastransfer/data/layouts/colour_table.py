"""Masks whose colours are classes, by a table beside them that says which colour is which class.

    labelmap.txt        name:r,g,b:parts:actions        as CVAT writes it for VOC and segmentation masks
    label_colors.txt    r g b name                      as CamVid has it
    class_dict.csv      name,r,g,b

Classes keep the order of the table. A class called background is 0, wherever it stands; void, unlabelled, unknown and
ignore are void, because what they mark belongs to no class. Two colours of one name are one class.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSampleError, remark
from kerastransfer.data.images import ColouredMaskError, has_colours, has_palette, read_colours, read_mask
from kerastransfer.data.layouts.files import lines, listed
from kerastransfer.data.layouts.tables import column, rows
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

FILES = ("labelmap.txt", "label_colors.txt", "label_colours.txt", "class_dict.csv", "class_dict_seg.csv")
FORMS = "labelmap.txt, label_colors.txt or class_dict.csv"
BACKGROUND = {"background", "bg"}
NO_CLASS = {"void", "unlabelled", "unlabeled", "unknown", "ignore", "ignored", "ignore region"}
# Masks whose palettes are compared with a table.
LOOKED_AT = 3
# What VOC paints 255 with, which stands in no table.
VOC_VOID = (224, 224, 192)
_LINES = (
    re.compile(r"(?P<name>[^:]+):\s*(?P<r>\d+)\s*,\s*(?P<g>\d+)\s*,\s*(?P<b>\d+)\s*(:.*)?"),
    re.compile(r"(?P<r>\d+)[\s,]+(?P<g>\d+)[\s,]+(?P<b>\d+)[\s,]+(?P<name>.+)"),
)


@dataclasses.dataclass(frozen=True)
class ColourTable:
    """path: its file. classes: of the masks. meaning: {(r, g, b): class, or VOID}."""

    path: Path
    classes: tuple[str, ...]
    meaning: dict[tuple[int, int, int], int]

    def knows(self, mask: Path) -> bool:
        """Whether all colours of a mask are in the table. Raises BadSampleError."""
        return all(_unpacked(colour) in self.meaning for colour in np.unique(packed(read_colours(mask))).tolist())

    def segmentation(self, mask: Path, size: tuple[int, int]) -> np.ndarray:
        """Segmentation (H, W) uint8 of a mask. Raises BadSampleError, also for a colour that the table lacks."""
        colours = packed(read_colours(mask, size))
        known = np.array(sorted(map(packed, np.array([*self.meaning], np.uint8))))
        nearest = np.searchsorted(known, colours).clip(max=len(known) - 1)
        lacking = [str(_unpacked(colour)) for colour in np.unique(colours[known[nearest] != colours]).tolist()]
        if lacking:
            what = "a colour" if len(lacking) == 1 else f"{len(lacking)} colours"
            raise BadSampleError(f"mask {mask.name} has {what} that {self.path.name} lacks: {listed(lacking)}")
        return np.array([self.meaning[_unpacked(colour)] for colour in known.tolist()], np.uint8)[nearest]


def beside(folder: Path) -> Path | None:
    """The table in a folder or the one above it."""
    return next((home / name for home in (folder, folder.parent) for name in FILES if (home / name).is_file()), None)


def table_of(folder: Path, masks: Sequence[Path]) -> ColourTable | None:
    """The table by which masks are read: none where there is none, or where no mask has colours. Raises UserError for
    a table that is no table, and for masks whose colours are not those that were painted."""
    path = beside(folder)
    coloured = [mask for mask in masks if _has_colours(mask)] if path else []
    if path is None or not coloured:
        return None
    no_form = path.suffix != ".csv" and not any(form.fullmatch(line) for line in lines(path) for form in _LINES)
    if no_form and all(map(_has_indices, coloured)):
        remark(f"{path.name} names no colours, so masks are read as indices")
        return None
    jpeg = next((mask for mask in masks if mask.suffix.lower() in (".jpg", ".jpeg")), None)
    if jpeg is not None:
        raise UserError(f"{jpeg}: JPEG changes the colours that {path.name} names; store the masks as PNG")
    table = _read(path)
    # A palette is for the eye unless its colours are those of the table: the masks have indices, too.
    if all(map(has_palette, coloured)) and not all(map(table.knows, coloured[:LOOKED_AT])):
        return None
    return table


def indices(mask: Path, size: tuple[int, int]) -> np.ndarray:
    """`images.read_mask`, which says of a mask with colours what would help."""
    try:
        return read_mask(mask, size)
    except ColouredMaskError as error:
        raise BadSampleError(f"{error}, or put a table of its colours beside the folders ({FORMS})") from None


def _has_indices(mask: Path) -> bool:
    try:
        read_mask(mask)
    except ColouredMaskError:
        return False
    except BadSampleError:
        # It is reported when its sample is read.
        pass
    return True


def _has_colours(mask: Path) -> bool:
    try:
        return has_colours(mask)
    except BadSampleError:
        # It is reported when its sample is read.
        return False


def _read(path: Path) -> ColourTable:
    names, meaning, void = list[str](), dict[tuple[int, int, int], int](), []
    entries = list(_in_csv(path) if path.suffix == ".csv" else _in_text(path))
    bare = {name: name.lower().replace("_", " ").strip() for name, _ in entries}
    for name in bare:
        if bare[name] not in BACKGROUND | NO_CLASS:
            names.append(name)
    for name, colour in entries:
        value = 0 if bare[name] in BACKGROUND else VOID if bare[name] in NO_CLASS else names.index(name) + 1
        if meaning.setdefault(colour, value) != value:
            raise UserError(f"{path} gives {name} the colour {colour}, which another class has; colours must differ")
        void += [name] if value == VOID else []
    if not names:
        raise UserError(f"{path} names no class with a colour; lines such as car:64,0,128:: are needed")
    if len(names) >= VOID:
        raise UserError(f"{path} names {len(names)} classes; {VOID - 1} are the most")
    if void:
        remark(f"pixels of {', '.join(dict.fromkeys(void))} are void: they are no class")
    return ColourTable(path, ("background", *names), {VOC_VOID: VOID} | meaning)


Entry = tuple[str, tuple[int, int, int]]


def _in_text(path: Path) -> Iterable[Entry]:
    for line in lines(path):
        if line.startswith("#"):
            continue
        found = next((match for form in _LINES if (match := form.fullmatch(line))), None)
        if found is None:
            raise UserError(f"{path}: {line[:60]!r} is no class with a colour; name:r,g,b:: or r g b name is needed")
        yield found["name"].strip(), _colour(path, [found[key] for key in "rgb"])


def _in_csv(path: Path) -> Iterable[Entry]:
    table = rows(path)
    header = table[0] if table else []
    wanted = (("name", "class", "class_name", "label"), ("r", "red"), ("g", "green"), ("b", "blue"))
    places = [column(header, names) for names in wanted]
    if None in places:
        raise UserError(f"{path} has no columns name, r, g and b; they say which colour is which class")
    for row in table[1:]:
        if len(row) <= max(places) or not row[places[0]]:
            raise UserError(f"{path}: the line {','.join(row)[:60]!r} has no name, r, g and b")
        yield row[places[0]], _colour(path, [row[place] for place in places[1:]])


def _colour(path: Path, parts: list[str]) -> tuple[int, int, int]:
    if not all(part.isdecimal() and len(part) < 4 and int(part) < 256 for part in parts):
        raise UserError(f"{path}: {','.join(parts)[:60]!r} is no colour; three numbers from 0 to 255 are needed")
    r, g, b = map(int, parts)
    return r, g, b


def packed(colours: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 to numbers (...)."""
    wide = colours.astype(np.uint32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _unpacked(number: int) -> tuple[int, int, int]:
    return number >> 16, number >> 8 & 255, number & 255

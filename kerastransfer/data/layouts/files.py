"""What the layouts share in finding and reading files."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from kerastransfer.data.dataset import BadSampleError, remark
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import PICTURES

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

# Files of annotations of many images that are looked at in a folder, and their first bytes that tell their form.
MOST_FILES = 20
BEGINNING = 65_536


def images_under(folder: Path) -> dict[str, Path]:
    """The image files in `folder` and below by their relative path without suffix, in order; hidden ones left out.

    Of files that differ in the suffix alone the first counts; the others are remarked.
    """
    found, others = {}, []
    for path in sorted(folder.rglob("*")):
        if (
            path.suffix.lower() in PICTURES
            and path.name[0] != "."
            and found.setdefault(stem(path, folder), path) != path
        ):
            others.append(path.name)
    if others:
        lost = listed(others)
        remark(f"{folder.name}/ has images that differ in the suffix alone; of each the first is read, not {lost}")
    return found


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few names in a row, as a message shows them."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def of_suffix(folder: Path, *suffixes: str, deep: bool = False) -> Iterator[Path]:
    """The files in `folder`, with `deep` also below it, that have one of the suffixes, which some tools write in
    capitals; in no order. None where there is no such folder."""
    found = folder.rglob("*") if deep else folder.glob("*")
    return (path for path in found if path.suffix.lower() in suffixes)


def has_images(folder: Path) -> bool:
    """Whether image files lie directly in `folder`."""
    return folder.is_dir() and any(path.suffix.lower() in PICTURES for path in folder.iterdir())


def stem(path: Path, folder: Path) -> str:
    """The name of a sample: the path relative to `folder`, without suffix, with / on every machine."""
    return path.relative_to(folder).with_suffix("").as_posix()


def folders(folder: Path) -> list[Path]:
    """The visible folders directly in `folder`, in order."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def places(folder: Path, *needed: str) -> list[Path]:
    """`folder` itself or the split folders in it, those which hold folders of all the `needed` names."""
    if not folder.is_dir():
        return []
    candidates = [folder, *(path for path in folders(folder) if split_of([path.name]))]
    return [path for path in candidates if all((path / name).is_dir() for name in needed)]


def split_of(names: Iterable[str]) -> str | None:
    """The split that parts of a path stand for ("train2017", "stage1_train", "valid", ...), or None."""
    for name in names:
        word = re.sub(r"\d+$", "", re.sub(r"^(stage\d+|instances)_", "", name.lower()))
        if word in SPLITS:
            return SPLITS[word]
    return None


def annotation_files(data: Path, suffix: str, fits: Callable[[str], object]) -> list[Path]:
    """The files of annotations in a folder and its split folders, or the one that is given, whose beginning `fits`.

    Of a folder with very many, such as one beside each image, only the first are looked at.
    """
    if data.is_file():
        found = [data] if data.suffix.lower() == suffix else []
    elif data.is_dir():
        homes = [data, *(child for child in folders(data) if split_of([child.name]))]
        found = [path for home in homes for path in _of_suffix(home, suffix)]
    else:
        found = []
    return [path for path in found if fits(_beginning(path))]


def _of_suffix(home: Path, suffix: str) -> list[Path]:
    named = [path for path in home.iterdir() if path.suffix.lower() == suffix and path.name[0] != "."]
    return [path for path in sorted(named)[:MOST_FILES] if path.is_file()]


def _beginning(path: Path) -> str:
    """Empty where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty. Raises UserError: without its lists a data set cannot be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of lines: {error}") from error


def xml(path: Path) -> ElementTree.Element:
    """The root of an annotation in XML. Raises BadSampleError where it is broken."""
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise BadSampleError(f"annotation {path.name} is broken: {error}") from error

"""By which layout a folder is read: one that fits it, or the only folder in it that one fits.

Layouts that name their own folders and files (LAYOUTS) go before those of any shape (WIDE), such as a folder per class.
If two of a kind fit, nobody is asked to trust a guess: both are named.
"""

import dataclasses
from pathlib import Path

from kerastransfer.data.dataset import Dataset, remarks
from kerastransfer.data.layouts import LAYOUTS, WIDE
from kerastransfer.data.layouts.files import folders, listed, split_of
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError

# How far below the given folder a data set is looked for, and in how many folders.
DEEPEST = 2
MOST_FOLDERS = 200


@dataclasses.dataclass(frozen=True)
class Found:
    """A layout by its name, and the folder or file that it reads."""

    layout: str
    path: Path


def fitting(path: Path, *, wide: bool = True) -> list[str]:
    """The layouts that fit a folder or file: more than one if it can be read in different ways. wide: try those of any
    shape, too."""
    for any_shape in (False, True) if wide else (False,):
        names = [name for name, layout in LAYOUTS.items() if (name in WIDE) == any_shape and layout.recognises(path)]
        if names:
            return names
    return []


def find(path: Path, layout: str = "auto") -> Found | None:
    """What to read: `path` itself, or the only folder at most DEEPEST levels below it that `layout`, or with "auto" any
    layout, fits. None if there is none. Raises UserError if several layouts or folders fit."""
    level = [path]
    for depth in range(DEEPEST + 1):
        fits = {one: _fits(one, layout) for one in level}
        fits = {one: names for one, names in fits.items() if names}
        if len(fits) > 1:
            told = listed([f"{one.relative_to(path).as_posix()} ({names[0]})" for one, names in fits.items()])
            raise UserError(f"{path} holds {len(fits)} data sets: {told}; give one of these folders")
        for one, names in fits.items():
            if len(names) > 1:
                options = " or ".join(f"--format {name}" for name in names)
                raise UserError(f"{one} can be read as {' and as '.join(names)}; choose with {options}")
            return Found(names[0], one)
        if depth < DEEPEST:
            level = [child for one in level if one.is_dir() for child in folders(one)][:MOST_FOLDERS]
    return None


def home_below(dataset: Dataset, folder: Path, layout: str) -> Path | None:
    """The one folder directly in `folder` that is the whole data set, where the layout itself looks below (VOC's
    VOCdevkit/) and other folders lie beside it; None where `folder` is the data set.

    A split folder is a part of the data set even if it is the only one, and layouts of any shape (WIDE) read all that
    is below.
    """
    images = [sample.read.image for sample in dataset.samples if isinstance(sample.read, Reader)]
    if layout in WIDE or not folder.is_dir() or not images:
        return None
    beside = folders(folder)
    first = next((one for one in beside if isinstance(images[0], Path) and images[0].is_relative_to(one)), None)
    if first is None or len(beside) == 1 or split_of([first.name]) or not LAYOUTS[layout].recognises(first):
        return None
    return first if all(isinstance(image, Path) and image.is_relative_to(first) for image in images) else None


def is_part(path: Path, above: Path, layout: str) -> bool:
    """Whether `layout`, which fits the folder `above`, reads files in `path`: images, or annotations and masks, which
    are called as images are. Other folders may be why it fits."""
    try:
        with remarks():
            dataset = LAYOUTS[layout].read(above)
    except UserError:
        return False
    if home_below(dataset, above, layout):
        return False
    images = [sample.read.image for sample in dataset.samples if isinstance(sample.read, Reader)]
    images = [image for image in images if isinstance(image, Path)]
    stems = {image.stem for image in images}
    called_alike = (one.stem.removesuffix("_mask") in stems for one in path.rglob("*"))
    return any(image.is_relative_to(path) for image in images) or any(called_alike)


def _fits(path: Path, layout: str) -> list[str]:
    if layout == "auto":
        return fitting(path)
    return [layout] if LAYOUTS[layout].recognises(path) else []

"""What `predict` is given: photos, videos, folders of these, patterns such as "img*.jpg", and cameras."""

import dataclasses
import glob
from collections.abc import Iterable
from pathlib import Path

from kerastransfer.errors import UserError
from kerastransfer.vocabulary import PICTURES, VIDEOS

CAMERA = "camera:"


@dataclasses.dataclass(frozen=True)
class Source:
    """A photo or a video at `path`, or, without a path, the camera of this number."""

    path: Path | None
    camera: int | None = None

    @property
    def moving(self) -> bool:
        return self.path is None or self.path.suffix.lower() in VIDEOS

    def __str__(self) -> str:
        return f"{CAMERA}{self.camera}" if self.path is None else str(self.path)


def sources(given: Iterable[str], output: Path) -> dict[str, Source]:
    """{name of the output: source}. Names are paths below the folder that was given; equal ones are numbered, whatever
    their case. Hidden files, and those in the folder `output`, are left out of folders.

    Raises UserError for what holds no photo and no video.
    """
    found: dict[str, Source] = {}
    taken: set[str] = set()
    for text in given:
        for name, source in _found(text, output):
            numbers = range(1, len(taken) + 2)
            names = (name if number == 1 else f"{name}_{number}" for number in numbers)
            free = next(one for one in names if one.casefold() not in taken)
            taken.add(free.casefold())
            found[free] = source
    if not found:
        raise UserError("no image was given; give photos, videos, folders, or camera:0, after the model")
    return found


def _found(text: str, output: Path) -> list[tuple[str, Source]]:
    if text.startswith(CAMERA):
        number = text.removeprefix(CAMERA)
        if not number.isdecimal():
            raise UserError(f"{text}: a camera has a number, as in camera:0")
        return [(f"camera{int(number)}", Source(None, int(number)))]
    if "://" in text:
        raise UserError(f"{text}: an address cannot be read; download the file and give its path")
    path = Path(text)
    if path.is_dir():
        return _inside(path, output)
    if not path.exists() and glob.has_magic(text):
        # Path.glob takes no absolute patterns.
        fitting = map(Path, sorted(glob.glob(text, recursive=True)))  # noqa: PTH207
        found = [(one.stem, Source(one)) for one in fitting if not one.is_dir()]
        if not found:
            raise UserError(f"{text}: no file fits this pattern; give photos, videos or folders")
        return [(name, source) for name, source in found if _is_picture(source.path)] or found
    return [(path.stem, Source(path))]


def _inside(folder: Path, output: Path) -> list[tuple[str, Source]]:
    there = [
        (path, path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if _is_picture(path) and path.is_file() and not path.resolve().is_relative_to(output.resolve())
    ]
    found = [
        (inner.with_suffix("").as_posix(), Source(path))
        for path, inner in there
        if not any(part.startswith(".") for part in inner.parts)
    ]
    if not found:
        endings = ", ".join((*PICTURES, *VIDEOS))
        raise UserError(f"{folder}: no pictures or videos in this folder; it needs files that end in {endings}")
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in (*PICTURES, *VIDEOS)

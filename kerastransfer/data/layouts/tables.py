"""Tables of text: lines of values between commas, semicolons, tabs or spaces, with or without a header."""

import csv
import io
from pathlib import Path

from kerastransfer.data.dataset import BadSampleError
from kerastransfer.data.inside import within
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import PICTURES

SUFFIXES = (".csv", ".tsv", ".txt")
# Beyond these bytes a file is no list of images.
LARGEST = 200_000_000
# Names that a header gives to the file of an image.
FILE = ("filename", "file_name", "file", "path", "filepath", "image", "image_path", "image_id", "img", "id", "name")


def rows(path: Path, most: int | None = None) -> list[list[str]]:
    """The values of each line that is not empty, of the first `most` lines. Raises UserError for a file that is no
    text."""
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} has more than {LARGEST // 10**6} MB; a list of images is needed")
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read() if most is None else "".join(file.readline(10_000) for _ in range(most))
        between = next((sign for sign in (",", ";", "\t") if sign in text.partition("\n")[0]), None)
        if between is None:
            return [line.rsplit(None, 1) for line in text.splitlines() if line.strip()]
        lines = csv.reader(io.StringIO(text), delimiter=between, skipinitialspace=True)
        return [[value.strip() for value in row] for row in lines if any(value.strip() for value in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from error


def files_in(folder: Path) -> list[Path]:
    """The tables directly in a folder; of a file, itself."""
    if folder.is_file():
        return [folder] if folder.suffix.lower() in SUFFIXES else []
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")


def column(header: list[str], names: tuple[str, ...]) -> int | None:
    """Which column of a header has one of these names, in the order of the names."""
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in names if name in lower), None)


class Images:
    """The image files that the lines of a table name: relative to its folder, to a folder images/, or to one that is
    called as the table is; a name without suffix is completed."""

    def __init__(self, table: Path):
        self.root = table.parent
        near = [self.root / name for name in ("images", "Images", "imgs", "img", table.stem, "JPEGImages")]
        self._homes = [self.root, *(home for home in near if home.is_dir())]

    def __contains__(self, name: str) -> bool:
        try:
            return self.file(name).is_file()
        except (BadSampleError, OSError, ValueError):
            return False

    def file(self, name: str) -> Path:
        """Raises BadSampleError for a file that lies outside the folder of the table, and for the name of no file."""
        name = name.replace("\\", "/")
        known = name.lower().endswith(PICTURES)
        tried = [
            within(home / (name + end), self.root)
            for home in self._homes
            for end in ("", *PICTURES)[: 1 if known else None]
        ]
        if tried[0] == self.root:
            raise BadSampleError("the name of its image is empty")
        return next((path for path in tried if _is_file(path)), tried[0])


class ImagesBelow(Images):
    """As `Images`; a file that is in none of these places is looked for by its name, with the folders that the name
    has, in all folders below. Of a web address the last part is the name."""

    def __init__(self, table: Path):
        super().__init__(table)
        self._below: dict[str, list[Path]] | None = None

    def file(self, name: str) -> Path:
        """Raises BadSampleError also for a name that several files have."""
        path = super().file(name)
        if _is_file(path):
            return path
        if self._below is None:
            self._below = {}
            for one in sorted(self.root.rglob("*")):
                if one.suffix.lower() in PICTURES and one.name[0] != ".":
                    self._below.setdefault(one.name, []).append(one)
        parts = path.parts[-1:] if "://" in name else Path(name.replace("\\", "/")).parts
        same = [one for one in self._below.get(parts[-1], ()) if one.parts[-len(parts) :] == parts]
        if len(same) > 1:
            raise BadSampleError(f"{len(same)} images are called {name}; their folders must be named too")
        return same[0] if same else path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # The name is too long for a file system, or has a character that none takes.
        return False

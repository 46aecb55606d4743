"""What the check of a data set found, remembered in the cache folder, so that a second start decodes nothing for it.

A data set is known again by what it holds (names, fields and classes of its samples) and by name, size and time of
change of every file below its folder, and of every image outside it with its own file of annotations. What was
remembered is ignored where it is damaged or of another version, and nothing is remembered where the cache folder cannot
be written.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kerastransfer import __version__, files
from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.errors import UserError
from kerastransfer.presets import download

# Increase it when the check finds what it did not find before.
FORMAT = 2

# Of each sample why it is bad, or None, and what is to be known of it.
Found = list[tuple[str | None, list[str]]]


@dataclasses.dataclass(frozen=True)
class Check:
    """The check of a data set: where what it found is kept, and the state of the files that it was found in."""

    path: Path
    state: str
    samples: Sequence[Sample]

    def recall(self) -> Found | None:
        """What was found before, or None where that is unknown."""
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored["state"] != self.state:
                return None
            told = stored["told"]
            found = [(why, list(remarks)) for why, remarks in (told.get(s.name, (None, ())) for s in self.samples)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        text = all(isinstance(why, str | None) and all(isinstance(one, str) for one in told) for why, told in found)
        return found if text else None

    def remember(self, found: Found) -> None:
        """Keep what was found."""
        told = {s.name: one for s, one in zip(self.samples, found, strict=True) if one[0] or one[1]}
        with contextlib.suppress(UserError, OSError):
            files.write_json(self.path, {"state": self.state, "told": told})


def folder() -> Path:
    """Where it is kept."""
    return download.home() / "checked"


def of(data: str, layout: str, dataset: Dataset, samples: Sequence[Sample]) -> Check | None:
    """The check of these samples of a data set, or None where `data` is no path: what is drawn cannot be damaged."""
    path = Path(data).expanduser()
    if not path.exists():
        return None
    path = path.resolve()
    content = [
        [(sample.name, sorted(sample.fields)) for sample in samples],
        [dataset.classes, dataset.segmentation_classes, dataset.image_classes],
    ]
    name = _digest([str(path), layout, *content])
    home = path if path.is_dir() else path.parent
    below = sorted(_below(home))
    named = (getattr(sample.read, name, None) for sample in samples for name in ("image", "beside"))
    outside = [*_outside(home, named)]
    return Check(folder() / f"{name}.json", _digest([FORMAT, __version__, below, outside]), samples)


def _outside(home: Path, files: Iterable[Any]) -> Iterator[tuple]:
    """The state of the files that lie elsewhere. Those that are not there are found out by the check."""
    for file in files:
        if isinstance(file, Path) and not file.is_relative_to(home):
            with contextlib.suppress(OSError):
                yield _state(str(file), file.stat())


def _below(folder: Path) -> Iterator[tuple]:
    """The state of all files below a folder, but for hidden ones. A folder that links lead to twice is read once."""
    seen, waiting = set(), [str(folder)]
    while waiting:
        here = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(here) as entries:
            known = os.path.realpath(here)
            if known in seen:
                continue
            seen.add(known)
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    waiting.append(entry.path)
                    continue
                with contextlib.suppress(OSError):
                    yield _state(entry.path, entry.stat())


def _state(path: str, stat: os.stat_result) -> tuple[str, int, int]:
    return path, stat.st_size, stat.st_mtime_ns


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]

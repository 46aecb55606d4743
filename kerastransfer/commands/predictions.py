"""Writes predictions as they come, so that memory stays flat however many there are."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from kerastransfer import files

FORM = (
    "pixels from the upper left corner; box is [y1, x1, y2, x2], bbox is COCO's [x, y, width, height]; class is the "
    "place of the label in labels"
)


def _opened(path: Path) -> TextIO:
    # Names of files may hold what is not text; JSON reads the escapes back.
    return path.open("w", encoding="utf-8", errors="backslashreplace")


@contextlib.contextmanager
def document(path: str | os.PathLike, head: Mapping[str, Any]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that adds an entry to the list "images" of a JSON file, after the keys of `head`."""
    with files.replacing(path) as temporary, _opened(temporary) as file:
        file.write(json.dumps(head, indent=2, ensure_ascii=False)[:-2] + ',\n  "images": [')
        between = "\n    "

        def add(entry: Mapping[str, Any]) -> None:
            nonlocal between
            file.write(between + json.dumps(entry, ensure_ascii=False))
            between = ",\n    "

        yield add
        file.write("\n  ]\n}\n")


@contextlib.contextmanager
def lines(path: str | os.PathLike) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that adds an entry to a file with a JSON object in each line."""
    with files.replacing(path) as temporary, _opened(temporary) as file:
        yield lambda entry: file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def told(summary: list[dict[str, Any]], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """A prediction's `summary` with the number of each class, and boxes as COCO has them too."""
    number = {label: index for index, label in enumerate(labels)}
    found = []
    for one in summary:
        entry = {"label": one["label"], "class": number[one["label"]], **one}
        if "box" in one:
            y1, x1, y2, x2 = one["box"]
            entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        found.append(entry)
    return found

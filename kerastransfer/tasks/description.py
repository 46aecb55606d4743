"""Reads the description of a trained model from JSON that may come from anywhere: limited in size and depth, and
checked by a schema. NAME.json and the metadata of a .tflite file share it."""

import json
import math
from collections.abc import Mapping
from typing import Any

from kerastransfer.data.letterbox import RESIZES
from kerastransfer.tasks import TASKS
from kerastransfer.vocabulary import LARGEST_SIDE, LONGEST_NAME

# ImageNet's 21,841 names take 0.6 MB.
LARGEST_BYTES = 4_000_000
# Codecs that hold codecs have a depth of 12.
DEEPEST = 40


def parsed(content: bytes) -> dict[str, Any]:
    """The JSON object in `content`. Raises ValueError if it is too large, nested too deeply, or anything else."""
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"more than {LARGEST_BYTES:,} bytes of description")
    try:
        described = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(described, dict):
        raise ValueError("not a JSON object")
    level = [described]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        level = [inner for inner in level if isinstance(inner, dict | list)]
    if level:
        raise ValueError("nested too deeply")
    return described


def task(described: Mapping[str, Any]) -> str:
    """A name in TASKS. Raises ValueError."""
    found = described.get("task")
    if not isinstance(found, str) or found not in TASKS:
        raise ValueError(f"task is {_short(found)}; known are {', '.join(TASKS)}")
    return found


def labels(described: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes, which can be printed and drawn. Raises ValueError."""
    found = described.get("labels")
    if not isinstance(found, list) or not found:
        raise ValueError(f"labels is {_short(found)}; a list of names is needed")
    for name in found:
        if not isinstance(name, str) or not name or not name.isprintable() or len(name) > LONGEST_NAME:
            raise ValueError(f"the label {_short(name)} is not a printable name of at most {LONGEST_NAME} letters")
    return tuple(found)


def size(values: Any) -> tuple[int, int]:
    """(H, W) in pixels. Raises ValueError."""
    whole = isinstance(values, list | tuple) and len(values) == 2 and all(type(side) is int for side in values)
    if not whole or not all(0 < side <= LARGEST_SIDE for side in values):
        raise ValueError(f"the image size is {_short(values)}; two whole numbers above 0 are needed")
    return values[0], values[1]


def resize(value: Any) -> str:
    """One of RESIZES. Raises ValueError."""
    if value not in RESIZES:
        raise ValueError(f"resize is {_short(value)}; known are {', '.join(RESIZES)}")
    return value


def share(values: Mapping[str, Any], name: str) -> float:
    """A number from 0 to 1. Raises ValueError."""
    value = values.get(name)
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {_short(value)}; a number from 0 to 1 is needed")
    return value


def text(values: Mapping[str, Any], name: str) -> str:
    """A printable word. Raises ValueError."""
    value = values.get(name)
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_NAME:
        raise ValueError(f"{name} is {_short(value)}; a word is needed")
    return value


def same_count(classes: int | None, names: tuple[str, ...]) -> None:
    """Raises ValueError if the model has another number of classes than names; None is not known."""
    if classes is not None and classes != len(names):
        raise ValueError(f"{len(names)} labels, but the model has {classes} classes")


def _short(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]

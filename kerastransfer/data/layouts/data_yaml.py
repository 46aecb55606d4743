"""The data.yaml that YOLO trainers read: where images lie, and what classes are called.

    path: ../data        # a folder, from the file's own
    train: images/train  # folders of images, or text files that list them, one or several
    val: images/val
    names: [cat, dog]    # or a mapping, also on lines of their own

A strict reader of these keys alone, as PyYAML is not required. Other keys are passed over.
"""

import dataclasses
import re
from pathlib import Path

from kerastransfer.data.dataset import BadSampleError
from kerastransfer.data.inside import within
from kerastransfer.errors import UserError

SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
LARGEST = 10_000_000


@dataclasses.dataclass(frozen=True)
class DataYaml:
    """names: {class id: name}. sources: (split, folder of images or list of them), those that are there.
    keypoints: whether lines of labels go on with key points."""

    names: dict[int, str]
    sources: list[tuple[str, Path]]
    keypoints: bool


def read(path: Path) -> DataYaml:
    """Raises UserError for a file that cannot be read, and for a source that lies outside its folder, unless that is
    allowed."""
    text = without_comments(path)
    base = _base(path, text)
    sources = []
    for key, split in SPLITS.items():
        for entry in _entries(text, key):
            source = _inside(path, base / entry, base)
            # As Roboflow writes them, the folders lie one level lower than ../train/images says.
            lower = _inside(path, base / re.sub(r"^(\.\./)+", "", entry), base)
            found = next((one for one in (source, lower) if one is not None and _exists(one)), None)
            if found is None and source is None:
                raise UserError(
                    f"{path}: {key}: {entry} lies outside the folder of the file; --allow-outside reads it anyway"
                )
            if found is not None:
                sources.append((split, found))
    return DataYaml(names_in_yaml(text), sources, bool(re.search(r"^kpt_shape:", text, re.MULTILINE)))


def without_comments(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} cannot be read: it has more than {LARGEST // 10**6} MB")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    kept = (re.sub(r"(^|\s)#.*$", "", line).rstrip() for line in text.splitlines())
    return "\n".join(line for line in kept if line)


def names_in_yaml(text: str) -> dict[int, str]:
    """The entry `names` of a yaml text without comments: a list or a mapping, on one line or indented below."""
    names = {}
    for number, item in enumerate(_items(text, "names")):
        keyed = re.match(r"['\"]?(\d{1,9})['\"]?\s*:\s*(.*)$", item)
        key, name = (int(keyed[1]), keyed[2]) if keyed else (number, item)
        names[key] = _bare(name)
    return names


def _items(text: str, key: str) -> list[str]:
    """The items of an entry that is a list or a mapping; none of one that is not."""
    entry = re.search(rf"^{key}:[ ]*(?:(\[[^\]]*\]|\{{[^}}]*\}})|((?:\n(?:[ \t]+|-)[^\n]*)+))", text, re.MULTILINE)
    if entry is None:
        return []
    inline, block = entry.groups()
    item = r"\s*((?:\d+\s*:\s*)?(?:'[^']*'|\"[^\"]*\"|[^,]+))"
    items = re.findall(item, inline[1:-1]) if inline else block.strip().split("\n")
    return [item.strip().removeprefix("- ").strip() for item in items if item.strip()]


def _entries(text: str, key: str) -> list[str]:
    """The value of an entry, or its values if it is a list."""
    one = re.search(rf"^{key}:[ ]*([^\s\[{{][^\n]*)$", text, re.MULTILINE)
    return [value for value in map(_bare, [one[1]] if one else _items(text, key)) if value and value != "null"]


def _bare(value: str) -> str:
    return value.strip().strip("'\"")


def _base(path: Path, text: str) -> Path:
    """What sources are relative to: `path`, if there is such a folder, else the folder of the file."""
    stated = _entries(text, "path")
    if not stated:
        return path.parent
    base = path.parent / stated[0]
    if not (_exists(base) and base.is_dir()):
        return path.parent
    if (inside := _inside(path, base, path.parent)) is None:
        raise UserError(
            f"{path}: path: {stated[0]} lies outside the folder of the file; --allow-outside reads it anyway"
        )
    return inside


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        # A name that no file system takes.
        return False


def _inside(path: Path, file: Path, base: Path) -> Path | None:
    try:
        return within(file, path.parent, base)
    except BadSampleError:
        return None

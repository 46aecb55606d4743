"""YOLO text files: labels/ mirrors images/ with a .txt per image, at the top or inside train/, valid/ and test/.

A line is `class x y width height` (centre and size) or `class x1 y1 x2 y2 ...` (a polygon), as fractions of the image.
Class names stand in a yaml file's `names` or in classes.txt; ids become labels in the order of the ids, so ids with
gaps (COCO's 1 to 90) are fine. An empty file says that there is no object, a missing one that nobody looked. In the
form of coco128, with a folder per task, the polygons are read; give the folder object_detection/ to read its boxes.
"""

import functools
import re
from pathlib import Path

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample, remark
from kerastransfer.data.layouts.files import images_under, lines, listed, places, split_of
from kerastransfer.data.layouts.objects import filled, objects, painted
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError

FORM = "images/ and labels/*.txt side by side, with a data.yaml or classes.txt"
TASKS = ("instance_segmentation", "object_detection")

# (class id, numbers).
Line = tuple[int, list[float]]


def recognises(folder: Path) -> bool:
    return bool(_roots(folder))


def read(folder: Path) -> Dataset:
    samples, bad, annotations = [], [], {}
    for name, image, text in _pairs(folder):
        try:
            if image is None:
                raise BadSampleError(f"labels {text.name} have no image")
            annotations[name] = image, None if text is None else _parsed(text)
        except BadSampleError as error:
            bad.append(BadSample(name, str(error)))
    used = {class_id for _, found in annotations.values() for class_id, _ in found or ()}
    names = _names(folder) or {class_id: str(class_id) for class_id in sorted(used)}
    label_of = {class_id: label for label, class_id in enumerate(sorted(names))}
    polygons = {name: sum(len(numbers) > 4 for _, numbers in found or ()) for name, (_, found) in annotations.items()}
    masked = any(polygons.values())
    mixed = [name for name, (_, found) in annotations.items() if 0 < polygons[name] < len(found or ())]
    if mixed:
        count = sum(polygons[name] for name in mixed)
        others = f"other objects of their images ({listed(mixed)}) have boxes alone"
        remark(f"{count} polygons are read as boxes, because {others}")
    for name, (image, found) in sorted(annotations.items()):
        fields = frozenset() if found is None else frozenset({"boxes"})
        if masked and found is not None and polygons[name] == len(found):
            fields |= {"masks", "segmentation"} if len(names) < 255 else {"masks"}
        reader = Reader(image, functools.partial(_annotations, found, label_of), fields)
        samples.append(Sample(name, reader, fields, split_of(name.split("/")[:-1])))
    classes = tuple(names[class_id] for class_id in label_of)
    painted_classes = ("background", *classes) if any("segmentation" in s.fields for s in samples) else ()
    return Dataset(folder.name, tuple(samples), classes, painted_classes, bad=tuple(bad))


def _roots(folder: Path) -> list[tuple[Path, Path, str]]:
    """Folders of images, of labels, and what stands before the names of their samples."""
    roots = [(place / "images", place / "labels", place) for place in places(folder, "images", "labels")]
    if not roots:
        tasks = [folder / task for task in TASKS] if folder.name not in TASKS else [folder]
        found = [task for task in tasks if (task / "labels").is_dir() and (task.parent / "images").is_dir()]
        roots = [(task.parent / "images", task / "labels", folder) for task in found[:1]]
    return [
        (images, labels, "" if place == folder else f"{place.name}/")
        for images, labels, place in roots
        if next(labels.rglob("*.txt"), None)
    ]


def _pairs(folder: Path) -> list[tuple[str, Path | None, Path | None]]:
    pairs = []
    for image_folder, label_folder, prefix in _roots(folder):
        images = images_under(image_folder)
        texts = {
            path.relative_to(label_folder).with_suffix("").as_posix(): path for path in label_folder.rglob("*.txt")
        }
        texts.pop("classes", None)
        pairs += [(prefix + stem, images.get(stem), texts.get(stem)) for stem in sorted({*images, *texts})]
    return pairs


def _parsed(path: Path) -> list[Line]:
    parsed = []
    try:
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            words = line.split()
            if not words:
                continue
            class_id, numbers = float(words[0]), [float(word) for word in words[1:]]
            if not class_id.is_integer() or len(numbers) % 2 or len(numbers) < 4:
                raise ValueError(f"{line[:40]!r} is neither a class with a box nor a class with a polygon")
            parsed.append((int(class_id), numbers))
    except (OSError, ValueError) as error:
        raise BadSampleError(f"labels {path.name} are broken: {error}") from error
    return parsed


def _annotations(found: list[Line], label_of: dict[int, int], size: tuple[int, int], wanted: frozenset[str]) -> Example:
    height, width = size
    masked = not wanted.isdisjoint({"masks", "segmentation"})
    unknown = {class_id for class_id, _ in found} - label_of.keys()
    if unknown:
        raise BadSampleError(f"class {min(unknown)}, but names are given for {min(label_of)} to {max(label_of)}")
    masks, corners = [], []
    for _, numbers in found:
        if len(numbers) == 4:
            x, y, w, h = numbers
            corners.append(((y - h / 2) * height, (x - w / 2) * width, (y + h / 2) * height, (x + w / 2) * width))
        else:
            xs, ys = [value * width for value in numbers[::2]], [value * height for value in numbers[1::2]]
            # The polygon's own box, not that of its mask: a tiny polygon fills no pixel.
            corners.append((min(ys), min(xs), max(ys), max(xs)))
            if not masked:
                continue
            masks.append(filled([[value for point in zip(xs, ys, strict=True) for value in point]], size))
    labels = [label_of[class_id] for class_id, _ in found]
    example = objects(corners, labels, size, masks=masks if masked else None)
    if "segmentation" in wanted:
        example["segmentation"] = painted(example)
    return example


def _names(folder: Path) -> dict[int, str]:
    """Class names by id from the first file that gives any; empty where none does."""
    homes = dict.fromkeys((folder, *(labels.parent for _, labels, _ in _roots(folder))))
    for home in homes:
        for path in sorted(home.glob("*.y*ml")):
            names = names_in_yaml(_without_comments(path))
            if names:
                return names
        for path in (home / "classes.txt", home / "labels" / "classes.txt"):
            if path.is_file():
                return dict(enumerate(lines(path)))
    return {}


def _without_comments(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    kept = (re.sub(r"(^|\s)#.*$", "", line).rstrip() for line in text.splitlines())
    return "\n".join(line for line in kept if line)


def names_in_yaml(text: str) -> dict[int, str]:
    """The entry `names` of a yaml text without comments: a list or a mapping, on one line or indented below."""
    entry = re.search(r"^names:[ ]*(?:(\[[^\]]*\]|\{[^}]*\})|((?:\n(?:[ \t]+|-)[^\n]*)+))", text, re.MULTILINE)
    if entry is None:
        return {}
    inline, block = entry.groups()
    item = r"\s*((?:\d+\s*:\s*)?(?:'[^']*'|\"[^\"]*\"|[^,]+))"
    items = re.findall(item, inline[1:-1]) if inline else block.strip().split("\n")
    names = {}
    for number, item in enumerate(item.strip().removeprefix("- ") for item in items if item.strip()):
        keyed = re.match(r"['\"]?(\d+)['\"]?\s*:\s*(.*)$", item)
        key, name = (int(keyed[1]), keyed[2]) if keyed else (number, item)
        names[key] = name.strip().strip("'\"")
    return names

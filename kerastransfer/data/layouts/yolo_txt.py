"""YOLO text files: labels/ mirrors images/ with a .txt per image, at the top or inside train/, valid/ and test/; or
each .txt lies beside its image; or a data.yaml says where the images are (`yolo_files`, `data_yaml`).

A line is `class x y width height` (centre and size) or `class x1 y1 x2 y2 ...` (a polygon), as fractions of the image.
Class names stand in a yaml file's `names` or in classes.txt; ids become labels in the order of the ids, so ids with
gaps (COCO's 1 to 90) are fine. An empty file says that there is no object, a missing one that nobody looked. In the
form of coco128, with a folder per task, the polygons are read; give the folder object_detection/ to read its boxes.

Where an image has both, an object with a box alone has a mask without a pixel: it is trained on as a box, its outline
is not, and in the segmentation its box is void, for nobody knows which of these pixels are its own.
"""

import functools
from pathlib import Path

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample, remark
from kerastransfer.data.layouts import data_yaml, yolo_files
from kerastransfer.data.layouts.files import lines, listed, of_suffix
from kerastransfer.data.layouts.objects import filled, no_mask, objects, painted
from kerastransfer.data.reading import Reader

FORM = "images/ and labels/*.txt side by side, with a data.yaml or classes.txt, or a data.yaml"

# (class id, numbers).
Line = tuple[int, list[float]]
# A larger id is no class.
MOST_CLASSES = 100_000


def recognises(folder: Path) -> bool:
    return yolo_files.recognises(folder)


def read(folder: Path) -> Dataset:
    bad, annotations = [], {}
    yamls = [data_yaml.read(path) for path in yolo_files.yaml_files(folder)]
    keypoints = any(yaml.keypoints for yaml in yamls)
    if keypoints:
        remark("the key points are left out; the boxes are read")
    for pair in yolo_files.pairs(folder):
        try:
            if pair.image is None:
                raise BadSampleError(f"labels {pair.labels.name} have no image")
            found = None if pair.labels is None else _parsed(pair.labels, keypoints)
            annotations[pair.name] = pair, found
        except BadSampleError as error:
            bad.append(BadSample(pair.name, str(error)))
    used = {class_id for _, found in annotations.values() for class_id, _ in found or ()}
    names = _names(folder, yamls) or {class_id: str(class_id) for class_id in sorted(used)}
    label_of = {class_id: label for label, class_id in enumerate(sorted(names))}
    polygons = {name: sum(len(numbers) > 4 for _, numbers in found or ()) for name, (_, found) in annotations.items()}
    masked = any(polygons.values())
    mixed = [name for name, (_, found) in annotations.items() if 0 < polygons[name] < len(found or ())]
    if mixed:
        count = sum(len(annotations[name][1]) - polygons[name] for name in mixed)
        remark(
            f"{count} objects have a box alone beside outlined ones ({listed(mixed)}): they have no mask, and are void "
            "in the segmentation"
        )
    samples = []
    for name, (pair, found) in sorted(annotations.items()):
        fields = frozenset() if found is None else frozenset({"boxes"})
        if masked and found is not None and (polygons[name] or not found):
            fields |= {"masks", "segmentation"} if len(names) < 255 else {"masks"}
        reader = Reader(pair.image, functools.partial(_annotations, found, label_of), fields, pair.labels)
        samples.append(Sample(name, reader, fields, pair.split))
    classes = tuple(names[class_id] for class_id in label_of)
    painted_classes = ("background", *classes) if any("segmentation" in s.fields for s in samples) else ()
    name = folder.parent.name if folder.is_file() else folder.name
    return Dataset(name, tuple(samples), classes, painted_classes, bad=tuple(bad))


def _parsed(path: Path, keypoints: bool) -> list[Line]:
    parsed = []
    try:
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            words = line.split()
            if not words:
                continue
            class_id, numbers = float(words[0]), [float(word) for word in words[1:]]
            if not class_id.is_integer() or abs(class_id) > MOST_CLASSES or len(numbers) % 2 or len(numbers) < 4:
                raise ValueError(f"{line[:40]!r} is neither a class with a box nor a class with a polygon")
            parsed.append((int(class_id), numbers[:4] if keypoints else numbers))
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
            if masked:
                masks.append(no_mask(size))
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


def _names(folder: Path, yamls: list[data_yaml.DataYaml]) -> dict[int, str]:
    """Class names by id from the first file that gives any; empty where none does."""
    if folder.is_file():
        return yamls[0].names
    for home in yolo_files.homes(folder):
        for path in sorted(of_suffix(home, ".yaml", ".yml")):
            names = data_yaml.names_in_yaml(data_yaml.without_comments(path))
            if names:
                return names
        for path in (
            home / "classes.txt",
            home / "labels" / "classes.txt",
            home / "_darknet.labels",
            home / "obj.names",
        ):
            if path.is_file():
                return dict(enumerate(lines(path)))
    return {}

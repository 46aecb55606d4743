"""Where images lie and where their YOLO labels: the forms of folders in which `yolo_txt` finds both."""

import dataclasses
from pathlib import Path

from kerastransfer.data.dataset import BadSampleError
from kerastransfer.data.inside import within
from kerastransfer.data.layouts import data_yaml
from kerastransfer.data.layouts.files import folders, images_under, lines, of_suffix, places, split_of
from kerastransfer.vocabulary import PICTURES

TASKS = ("instance_segmentation", "object_detection")
# Text files beside images that are no labels.
NO_LABELS = ("classes", "README", "readme", "train", "val", "valid", "test", "names", "obj", "labels")
# Files of labels that are looked at where they lie beside their images.
LOOKED_AT = 3


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and its file of labels, of which one may be missing; name: of the sample."""

    name: str
    image: Path | None
    labels: Path | None
    split: str | None


def pairs(data: Path) -> list[Pair]:
    """All images and labels of a folder or a data.yaml, in order; none where it has another form."""
    if data.is_file():
        return _listed(data)
    found = [pair for root in _roots(data) for pair in _mirrored(*root)]
    if not found:
        found = next((pairs for path in yaml_files(data) if (pairs := _listed(path)) and _labelled(pairs)), [])
    return found or [pair for place in _beside(data) for pair in _mirrored(place, place, _prefix(place, data))]


def recognises(data: Path) -> bool:
    if data.is_file():
        return data.suffix.lower() in (".yaml", ".yml") and bool(_listed(data))
    return data.is_dir() and (
        bool(_roots(data)) or any(_labelled(_listed(path)) for path in yaml_files(data)) or bool(_beside(data))
    )


def yaml_files(data: Path) -> list[Path]:
    return [data] if data.is_file() else sorted(of_suffix(data, ".yaml", ".yml"))


def homes(data: Path) -> list[Path]:
    """The folders in which the names of classes are looked for."""
    folder = data.parent if data.is_file() else data
    labels = [labels.parent for _, labels, _ in _roots(folder)]
    return list(dict.fromkeys((folder, *labels, *_beside(folder))))


def _roots(folder: Path) -> list[tuple[Path, Path, str]]:
    """Folders of images, of labels, and what stands before the names of their samples."""
    roots = [(place / "images", place / "labels", place) for place in places(folder, "images", "labels")]
    if not roots:
        tasks = [folder / task for task in TASKS] if folder.name not in TASKS else [folder]
        found = [task for task in tasks if (task / "labels").is_dir() and (task.parent / "images").is_dir()]
        roots = [(task.parent / "images", task / "labels", folder) for task in found[:1]]
    return [
        (images, labels, _prefix(place, folder))
        for images, labels, place in roots
        if any(of_suffix(labels, ".txt", deep=True))
    ]


def _prefix(place: Path, folder: Path) -> str:
    return "" if place == folder else f"{place.name}/"


def _mirrored(image_folder: Path, label_folder: Path, prefix: str) -> list[Pair]:
    images = images_under(image_folder)
    texts = {
        path.relative_to(label_folder).with_suffix("").as_posix(): path
        for path in of_suffix(label_folder, ".txt", deep=True)
    }
    if image_folder == label_folder:
        texts = {stem: path for stem, path in texts.items() if stem in images or path.stem not in NO_LABELS}
    texts.pop("classes", None)
    names = {stem: prefix + stem for stem in sorted({*images, *texts})}
    return [
        Pair(name, images.get(stem), texts.get(stem), split_of(name.split("/")[:-1])) for stem, name in names.items()
    ]


def _beside(folder: Path) -> list[Path]:
    """`folder` or the split folders in it whose images have labels beside them, as Darknet has it."""
    if not folder.is_dir():
        return []
    candidates = [folder, *(path for path in folders(folder) if split_of([path.name]))]
    return [place for place in candidates if _has_labels_beside(place)]


def _has_labels_beside(place: Path) -> bool:
    pictures = {path.stem for path in place.iterdir() if path.suffix.lower() in PICTURES}
    texts = [path for path in sorted(of_suffix(place, ".txt")) if path.stem in pictures]
    return bool(texts) and all(map(_is_of_numbers, texts[:LOOKED_AT]))


def _is_of_numbers(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig") as file:
            words = file.readline(100_000).split()
        return not words or (len(words) >= 5 and [float(word) for word in words] != [])
    except (OSError, ValueError):
        return False


def _listed(yaml: Path) -> list[Pair]:
    """The images that a data.yaml names, with their labels: of images/a.jpg labels/a.txt, else a.txt beside it."""
    found: dict[Path, Pair] = {}
    for split, source in data_yaml.read(yaml).sources:
        for image in _images_of(source, yaml.parent):
            name = image.relative_to(yaml.parent) if image.is_relative_to(yaml.parent) else image
            text = _labels_of(image)
            found.setdefault(image, Pair(name.with_suffix("").as_posix(), image, text, split))
    return list(found.values())


def _images_of(source: Path, root: Path) -> list[Path]:
    if source.is_dir():
        return list(images_under(source).values())
    found = []
    for line in lines(source) if source.suffix.lower() == ".txt" else ():
        file = source.parent / line
        try:
            found.append(within(file, root, source.parent))
        except BadSampleError:
            # Told of when it is read: the name leads nowhere in the data set.
            found.append(root / "outside the data set" / file.name)
    return found


def _labels_of(image: Path) -> Path | None:
    parts = image.parts
    mirrored = image
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        mirrored = Path(*parts[:last], "labels", *parts[last + 1 :])
    found = (one.with_suffix(end) for one in dict.fromkeys((mirrored, image)) for end in (".txt", ".TXT"))
    return next((one for one in found if one.is_file()), None)


def _labelled(pairs: list[Pair]) -> bool:
    return any(pair.labels for pair in pairs)

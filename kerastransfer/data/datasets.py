"""Data sets by name or path: recognised, read, and checked before anything trains on them."""

import collections
import concurrent.futures
import dataclasses
import difflib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer.data import checked, choose_classes, recognise
from kerastransfer.data.dataset import FIELDS, BadSample, BadSampleError, Dataset, Example, Sample, remark, remarks
from kerastransfer.data.inside import REASON, leads_out, outside_allowed
from kerastransfer.data.layouts import LAYOUTS
from kerastransfer.data.layouts.files import listed
from kerastransfer.data.reading import Reader
from kerastransfer.data.seen import Seen
from kerastransfer.data.toy import DIFFICULTIES, toy
from kerastransfer.errors import UserError, one_line
from kerastransfer.progress import bar
from kerastransfer.vocabulary import VOID

LONGEST_NAME = 200
FORMATS = ("auto", "toy", "tfds", *LAYOUTS)
# What tools that write a format call it, or themselves.
OTHER_NAMES = {
    "labelimg": "voc or yolo_txt",
    "pascal": "voc",
    "pascal_voc": "voc",
    "xml": "voc or voc_xml",
    **dict.fromkeys(("yolo", "yolov5", "yolov8", "ultralytics", "darknet"), "yolo_txt"),
    "csv": "box_table or image_list",
    "cvat": "cvat_xml",
    **dict.fromkeys(("vgg", "vgg_via"), "via"),
    **dict.fromkeys(("create_ml", "apple"), "createml"),
}
# {what --data may name without a path: its format}.
NAMED = {**dict.fromkeys(DIFFICULTIES, "toy"), "tfds": "tfds"}


def load(
    data: str | os.PathLike,
    format: str = "auto",
    *,
    max_bad: float = 0.01,
    check: bool = True,
    progress: bool = False,
    classes: Sequence[str] = (),
    merge: Sequence[str] = (),
    allow_outside: bool = False,
    trusted: Collection[str] = (),
    seen: Seen | None = None,
) -> Dataset:
    """The data set that `data` names: `toy[:COUNT]`, `toy-hard[:COUNT]`, `tfds:NAME[:SPLIT]`, a folder or an annotation
    file.

    With `check`, every sample is decoded once: a bad one is left out and listed in `Dataset.bad` with its reason, and
    what a person should know of the good ones is listed in `Dataset.notes`, which `progress` prints. What was found is
    remembered (see `checked`), so the next call decodes nothing unless a file has changed.
    trusted: names of samples that stay, also if they are bad. seen: keeps the images that the check decodes.
    classes, merge: which classes are read, and which are one (`choose_classes`). allow_outside: read images that
    annotations name, or links lead to, outside the data set's folder; otherwise they are bad samples.

    Raises UserError where there is no such data or format, nothing good is left, or more than the share `max_bad` of
    the samples is bad; a single bad sample among good ones never stops.
    """
    if not isinstance(data, str | os.PathLike):
        raise UserError(f"data is {data!r}; give a folder, an annotation file, 'toy' or 'tfds:NAME'")
    data = os.fspath(data)
    with remarks() as notes, outside_allowed(allow_outside):
        layout = format_of(data, allow_outside=allow_outside) if format == "auto" else format
        dataset = _read(data, layout)
    _check_names(data, dataset)
    bad = [*dataset.bad, *_repeated(dataset)]
    repeated = {one.name for one in bad[len(dataset.bad) :]}
    first = {sample.name: sample for sample in reversed(dataset.samples)}
    samples = [first[name] for name in sorted(first)]
    total = len(samples) + len(repeated) + len(dataset.bad)
    if total == 0:
        raise UserError(f"{data}: no image was found; layout {layout} needs {_form(layout)}")
    if check:
        remembered = checked.of(data, layout, dataset, samples)
        found = remembered.recall() if remembered else None
        if found is None:
            shown = "checking images" if progress else None
            found = list(_each(samples, lambda sample: _checked(sample, dataset, seen), shown))
            if remembered:
                remembered.remember(found)
        found = [
            (None, told) if sample.name in trusted else (why, told)
            for sample, (why, told) in zip(samples, found, strict=True)
        ]
        bad += [BadSample(sample.name, why) for sample, (why, _) in zip(samples, found, strict=True) if why]
        heard = {sample.name: told for sample, (why, told) in zip(samples, found, strict=True) if not why}
        samples = [sample for sample in samples if sample.name in heard]
        notes = [*notes, *_noted(heard)]
    named = "; ".join(f"{one.name}: {one.reason}" for one in bad[:3]) + ("; ..." if len(bad) > 3 else "")
    if not samples:
        raise UserError(f"{data}: no sample can be used; {named}. Fix the data")
    if len(bad) > max(1, max_bad * total):
        raise UserError(
            f"{data}: {len(bad)} of {total} samples are bad, more than --max-bad {max_bad:g} allows: {named}. "
            "Fix them, or raise --max-bad"
        )
    notes = list(dict.fromkeys(notes))
    if progress:
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    bad = [BadSample(one_line(one.name, LONGEST_NAME), one_line(one.reason)) for one in bad]
    dataset = dataclasses.replace(dataset, samples=tuple(samples), bad=tuple(bad), notes=tuple(notes), seen=seen)
    return choose_classes.chosen(dataset, classes, merge)


def require(data: str | os.PathLike, format: str = "auto", *, allow_outside: bool = False) -> None:
    """Raises UserError, as `load` does, for what is not there or in no layout; reads no image and no annotation."""
    if format == "auto":
        format_of(data, allow_outside=allow_outside)
    elif format not in NAMED.values():
        _existing(os.fspath(data))


def format_of(data: str | os.PathLike, *, allow_outside: bool = False) -> str:
    """The format by which `auto` reads `data`. Raises UserError where nothing is there or no layout fits."""
    data = os.fspath(data)
    kind = data.partition(":")[0]
    if kind in NAMED and not Path(data).exists():
        return NAMED[kind]
    path = _existing(data)
    with outside_allowed(allow_outside):
        found = recognise.find(path)
    if found:
        return found.layout
    if path.is_file():
        raise UserError(
            f"{data} is a file, but not a COCO json, a data.yaml, a list of images, or annotations of CVAT, VIA or "
            "Create ML; give the folder of the data set (unpack an archive first)"
        )
    if next(path.rglob("*.nii*"), None):
        raise UserError(f"{data} holds volumes (NIfTI), not images; kerastransfer run genesis reads them")
    if not any(path.iterdir()):
        raise UserError(
            f"{data} is an empty folder; put a data set there in one of these layouts: {', '.join(LAYOUTS)}"
        )
    above = path.resolve().parent
    fits = recognise.fitting(above, wide=False)
    if fits and recognise.is_part(path.resolve(), above, fits[0]):
        raise UserError(f"{data} is a part of a data set; give the folder above it, {above}, which is {fits[0]}")
    raise UserError(
        f"{data} is in no known layout ({', '.join(LAYOUTS)}); give the folder that holds both images and annotations, "
        "or name the layout with --format to learn what it lacks"
    )


def summary(dataset: Dataset) -> dict[str, Any]:
    """What is in the data set, as plain values for a table or a json; every sample is decoded once more.

    samples; splits and fields: samples in each; objects, crowd and difficult: boxes of each class, each counted under
    one of them; pixels: each segmentation class's share of all pixels that are not void; labels: images of each class;
    image_sizes: smallest, median and largest (height, width) by area; bad: names and reasons; notes.
    """
    objects, crowd, difficult, labels, pixels, sizes = (collections.Counter() for _ in range(6))
    for example in _each(dataset.samples, lambda sample: _counts(sample), None):
        for total, part in zip((objects, crowd, difficult, labels, pixels, sizes), example, strict=True):
            total.update(part)
    ordered = sorted(sizes.elements(), key=lambda size: (size[0] * size[1], size))
    inside = sum(pixels[k] for k in range(len(dataset.segmentation_classes)))
    return {
        "name": dataset.name,
        "samples": len(dataset),
        "splits": dict(collections.Counter(sample.split or "none" for sample in dataset.samples)),
        "fields": dict(sorted(collections.Counter(f for sample in dataset.samples for f in sample.fields).items())),
        "objects": {name: objects[k] for k, name in enumerate(dataset.classes)},
        "crowd": {name: crowd[k] for k, name in enumerate(dataset.classes) if crowd[k]},
        "difficult": {name: difficult[k] for k, name in enumerate(dataset.classes) if difficult[k]},
        "pixels": {name: pixels[k] / max(inside, 1) for k, name in enumerate(dataset.segmentation_classes)},
        "labels": {name: labels[k] for k, name in enumerate(dataset.image_classes)},
        "image_sizes": {
            name: list(ordered[k])
            for name, k in (("smallest", 0), ("median", len(ordered) // 2), ("largest", -1))
            if ordered
        },
        "bad": [{"name": one.name, "reason": one.reason} for one in dataset.bad],
        "notes": list(dataset.notes),
    }


def _read(data: str, layout: str) -> Dataset:
    if layout not in FORMATS or layout == "auto":
        near = [OTHER_NAMES.get(layout.lower()), *difflib.get_close_matches(layout, FORMATS, 1)]
        hint = next((f"; did you mean {name}?" for name in near if name), f"; known are {', '.join(FORMATS)}")
        raise UserError(f"--format {layout} is not known{hint}")
    kind, _, rest = data.partition(":")
    if layout == "toy":
        if kind not in DIFFICULTIES:
            raise UserError(f"--data {data}: --format toy draws {' or '.join(DIFFICULTIES)}; give one of them")
        if data != kind and not (rest.isdecimal() and int(rest) > 0):
            raise UserError(f"--data {data}: {kind} takes a number of images, as in {kind}:480")
        return toy(difficulty=kind, count=int(rest) if rest else None)
    if layout == "tfds":
        from kerastransfer.data.layouts import tfds

        if kind != "tfds" or not rest:
            raise UserError(f"--data {data}: a TFDS builder is named as tfds:NAME or tfds:NAME:SPLIT")
        return tfds.read(rest)
    path = _existing(data)
    found = recognise.find(path, layout)
    if not found:
        fits = recognise.fitting(path)
        hint = f"; it looks like {' or '.join(fits)}" if fits else ""
        raise UserError(f"{data} is not in layout {layout}, which needs {_form(layout)}{hint}")
    if found.path != path:
        remark(f"{found.path.relative_to(path).as_posix()}/ is read, the only folder here in layout {layout}")
    # Only the last folder: what lies in a folder that is a link keeps its name.
    root = found.path.resolve()
    dataset = LAYOUTS[layout].read(root)
    if below := recognise.home_below(dataset, root, layout):
        remark(f"of the folders here only {below.name}/ is read, in layout {layout}; to read another, give its path")
    return _without_links(dataset, root if root.is_dir() else root.parent)


def _without_links(dataset: Dataset, root: Path) -> Dataset:
    """Without the samples whose image is a link that leads out of the data set."""
    out = [one for one in dataset.samples if isinstance(one.read, Reader) and leads_out(one.read.image, root)]
    if not out:
        return dataset
    kept = dataset.only({one.name for one in dataset.samples} - {one.name for one in out})
    return dataclasses.replace(kept, bad=(*dataset.bad, *(BadSample(one.name, REASON) for one in out)))


def _existing(data: str) -> Path:
    path = Path(data).expanduser()
    if not path.exists():
        near = difflib.get_close_matches(data.partition(":")[0], NAMED, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(
            f"--data {data}: no such file or folder{hint}; give a folder, a COCO json, toy, toy-hard or tfds:NAME"
        )
    return path


def _form(layout: str) -> str:
    return LAYOUTS[layout].FORM if layout in LAYOUTS else "a split with images"


def _check_names(data: str, dataset: Dataset) -> None:
    """Raises UserError for the name of a class that cannot be shown, and for one that two classes of a kind have: all
    that is counted and scored goes by names."""
    for names in (dataset.classes, dataset.segmentation_classes, dataset.image_classes):
        for name, count in collections.Counter(names).items():
            choose_classes.require_name(name, data)
            if count > 1 and names is dataset.segmentation_classes and name == names[0]:
                raise UserError(f"{data}: a class is called {name}, which is what is no object; rename it in the data")
            if count > 1:
                raise UserError(
                    f"{data}: {count} classes are called {name}; rename all but one of them, or give their objects "
                    "one class in the data (--merge goes by names, so it cannot tell them apart)"
                )


def _repeated(dataset: Dataset) -> Iterator[BadSample]:
    counts = collections.Counter(sample.name for sample in dataset.samples)
    for name, count in counts.items():
        if count > 1:
            yield BadSample(name, f"{count} images have this name; the first is kept")


def _each(items: Iterable[Any], act: Callable[[Any], Any], progress: str | None) -> Iterator[Any]:
    """`act` on each item, in order, in a pool of threads: decoding lets other threads run."""
    items = list(items)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = [pool.submit(act, item) for item in items]
        for one in bar(progress)(waiting):
            yield one.result()


def _checked(sample: Sample, dataset: Dataset, seen: Seen | None) -> tuple[str | None, list[str]]:
    """Why a sample is bad, or None; and what is to be known of it."""
    with remarks() as heard:
        try:
            example = sample.read()
            contradiction(example, sample, dataset)
        except BadSampleError as error:
            return str(error), heard
    if seen:
        seen.keep(sample.name, example["image"])
    return None, heard


def _noted(heard: dict[str, list[str]]) -> Iterator[str]:
    """A line for each remark, with the names of the samples that it was made of."""
    for text in sorted({text for texts in heard.values() for text in texts}):
        names = [name for name, texts in heard.items() if text in texts]
        yield f"{len(names)} image{'s' if len(names) > 1 else ''} ({listed(names)}): {text}"


def contradiction(example: Example, sample: Sample, dataset: Dataset) -> None:
    """Raises BadSampleError where an example breaks the contract of `Sample` or leaves the data set's classes."""
    height, width, _ = example["image"].shape
    if "boxes" in sample.fields:
        boxes, labels = example["boxes"], example["labels"]
        for name in FIELDS["boxes"]:
            if name in example and len(example[name]) != len(boxes):
                raise BadSampleError(f"{len(boxes)} boxes, but {len(example[name])} {name}")
        if len(boxes) and not (boxes.min() >= 0 and boxes.max() <= 1 and (boxes[:, 2:] > boxes[:, :2]).all()):
            raise BadSampleError("a box outside the image or without area")
        _in_range(labels, dataset.classes, "label")
    if "masks" in sample.fields and example["masks"].shape != (len(example["boxes"]), height, width):
        raise BadSampleError(f"masks {example['masks'].shape}, but {len(example['boxes'])} boxes, {height} x {width}")
    if "segmentation" in sample.fields:
        segmentation = example["segmentation"]
        if segmentation.shape != (height, width):
            raise BadSampleError(f"segmentation {segmentation.shape}, but an image of {height} x {width} pixels")
        values = np.flatnonzero(np.bincount(segmentation.ravel(), minlength=256))
        _in_range(values[values != VOID], dataset.segmentation_classes, "segmentation value")
    if "label" in sample.fields:
        _in_range(example["label"], dataset.image_classes, "image label")


def _in_range(values: np.ndarray, classes: tuple[str, ...], what: str) -> None:
    wrong = values[(values < 0) | (values >= len(classes))]
    if wrong.size:
        raise BadSampleError(f"{what} {wrong.flat[0]}, but there are {len(classes)} classes (0 to {len(classes) - 1})")


def _counts(sample: Sample) -> tuple[dict, ...]:
    """Objects, crowds, difficult objects, labels and pixels by class, and the size, of one sample."""
    example = sample.read()
    boxed = "boxes" in sample.fields
    labels = example["labels"] if boxed else np.zeros(0, int)
    crowd, difficult = (example[flag] if boxed else np.zeros(0, bool) for flag in ("crowd", "difficult"))
    pixels = np.bincount(example["segmentation"].ravel()) if "segmentation" in sample.fields else []
    return (
        *(collections.Counter(labels[which].tolist()) for which in (~(crowd | difficult), crowd, difficult & ~crowd)),
        {int(example["label"]): 1} if "label" in sample.fields else {},
        {value: int(count) for value, count in enumerate(pixels) if count},
        {example["image"].shape[:2]: 1},
    )

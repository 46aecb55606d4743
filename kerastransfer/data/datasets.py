"""Data sets by name or path: recognised, read, and checked before anything trains on them."""

import collections
import concurrent.futures
import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer.data.dataset import VOID, BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.layouts import LAYOUTS
from kerastransfer.data.toy import DIFFICULTIES, toy
from kerastransfer.errors import UserError

FORMATS = ("auto", "toy", "tfds", *LAYOUTS)
NAMED = {**dict.fromkeys(DIFFICULTIES, "toy"), "tfds": "tfds"}  # what --data may name without a path, and its format


def load(
    data: str | os.PathLike,
    format: str = "auto",
    *,
    max_bad: float = 0.01,
    check: bool = True,
    progress: bool = False,
) -> Dataset:
    """The data set that `data` names: `toy[:COUNT]`, `toy-hard[:COUNT]`, `tfds:NAME[:SPLIT]`, a folder or an annotation
    file.

    With `check`, every sample is decoded once: a bad one is left out and listed in `Dataset.bad` with its reason.
    Raises UserError where there is no such data or format, nothing good is left, or more than the share `max_bad` of
    the samples is bad; a single bad sample among good ones never stops.
    """
    data = os.fspath(data)
    layout = format_of(data) if format == "auto" else format
    dataset = _read(data, layout)
    bad = [*dataset.bad, *_repeated(dataset)]
    repeated = {one.name for one in bad[len(dataset.bad) :]}
    first = {sample.name: sample for sample in reversed(dataset.samples)}
    samples = [first[name] for name in sorted(first)]
    total = len(samples) + len(repeated) + len(dataset.bad)
    if total == 0:
        raise UserError(f"{data}: no image was found; layout {layout} needs {_form(layout)}")
    if check:
        reasons = list(_each(samples, lambda sample: _reason(sample, dataset), "checking images" if progress else None))
        bad += [BadSample(sample.name, why) for sample, why in zip(samples, reasons, strict=True) if why]
        samples = [sample for sample, why in zip(samples, reasons, strict=True) if not why]
    if not samples or len(bad) > max(1, max_bad * total):
        named = "; ".join(f"{one.name}: {one.reason}" for one in bad[:3]) + ("; ..." if len(bad) > 3 else "")
        raise UserError(
            f"{data}: {len(bad)} of {total} samples are bad, more than --max-bad {max_bad:g} allows: {named}. "
            "Mend them or raise --max-bad"
        )
    return dataclasses.replace(dataset, samples=tuple(samples), bad=tuple(bad))


def format_of(data: str | os.PathLike) -> str:
    """The format by which `auto` reads `data`. Raises UserError where nothing is there or no layout fits."""
    data = os.fspath(data)
    kind = data.partition(":")[0]
    if kind in NAMED and not Path(data).exists():
        return NAMED[kind]
    path = _existing(data)
    for name, layout in LAYOUTS.items():
        if layout.recognises(path):
            return name
    if path.is_file():
        raise UserError(
            f"{data} is a file, but no COCO json; give the folder of the data set (unpack an archive first)"
        )
    if not any(path.iterdir()):
        raise UserError(
            f"{data} is an empty folder; put a data set there in one of these layouts: {', '.join(LAYOUTS)}"
        )
    raise UserError(
        f"{data} is in no known layout ({', '.join(LAYOUTS)}); give the folder that holds the annotations, "
        "or name the layout with --format to hear what it lacks"
    )


def summary(dataset: Dataset) -> dict[str, Any]:
    """What is in the data set, as plain values for a table or a json; every sample is decoded once more.

    samples; splits and fields: samples in each; objects and crowd: boxes of each class; pixels: each segmentation
    class's share of all pixels that are not void; labels: images of each class; image_sizes: smallest, median and
    largest (height, width) by area; bad: names and reasons.
    """
    objects, crowd, labels, pixels, sizes = (collections.Counter() for _ in range(5))
    for example in _each(dataset.samples, lambda sample: _counts(sample), None):
        for total, part in zip((objects, crowd, labels, pixels, sizes), example, strict=True):
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
        "pixels": {name: pixels[k] / max(inside, 1) for k, name in enumerate(dataset.segmentation_classes)},
        "labels": {name: labels[k] for k, name in enumerate(dataset.image_classes)},
        "image_sizes": {
            name: list(ordered[k])
            for name, k in (("smallest", 0), ("median", len(ordered) // 2), ("largest", -1))
            if ordered
        },
        "bad": [{"name": one.name, "reason": one.reason} for one in dataset.bad],
    }


def _read(data: str, layout: str) -> Dataset:
    if layout not in FORMATS or layout == "auto":
        near = difflib.get_close_matches(layout, FORMATS, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(FORMATS)}"
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
    if not LAYOUTS[layout].recognises(path):
        fits = next((name for name, other in LAYOUTS.items() if other.recognises(path)), None)
        hint = f"; it looks like {fits}" if fits else ""
        raise UserError(f"{data} is not in layout {layout}, which needs {_form(layout)}{hint}")
    return LAYOUTS[layout].read(path.resolve())


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


def _repeated(dataset: Dataset) -> Iterator[BadSample]:
    counts = collections.Counter(sample.name for sample in dataset.samples)
    for name, count in counts.items():
        if count > 1:
            yield BadSample(name, f"{count} images have this name; the first is kept")


def _each(items: Iterable[Any], act: Callable[[Any], Any], progress: str | None) -> Iterator[Any]:
    """`act` on each item, in order, in a pool of threads: decoding lets other threads run."""
    items = list(items)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = pool.map(act, items)
        if progress:
            from rich.progress import track

            results = track(results, progress, total=len(items))
        yield from results


def _reason(sample: Sample, dataset: Dataset) -> str | None:
    try:
        contradiction(sample.read(), sample, dataset)
    except BadSampleError as error:
        return str(error)
    return None


def contradiction(example: Example, sample: Sample, dataset: Dataset) -> None:
    """Raises BadSampleError where an example breaks the contract of `Sample` or leaves the data set's classes."""
    height, width, _ = example["image"].shape
    if "boxes" in sample.fields:
        boxes, labels = example["boxes"], example["labels"]
        if not len(boxes) == len(labels) == len(example["crowd"]):
            raise BadSampleError(f"{len(boxes)} boxes, but {len(labels)} labels")
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
    """Objects, crowds, labels and pixels by class, and the size, of one sample."""
    example = sample.read()
    labels, crowd = example.get("labels", np.zeros(0, int)), example.get("crowd", np.zeros(0, bool))
    pixels = np.bincount(example["segmentation"].ravel()) if "segmentation" in sample.fields else []
    return (
        collections.Counter(labels[~crowd].tolist()),
        collections.Counter(labels[crowd].tolist()),
        {int(example["label"]): 1} if "label" in sample.fields else {},
        {value: int(count) for value, count in enumerate(pixels) if count},
        {example["image"].shape[:2]: 1},
    )

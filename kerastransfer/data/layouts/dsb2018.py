"""Data Science Bowl 2018: [stage1_train/]ID/images/ID.png and one binary mask per nucleus in ID/masks/*.png."""

import functools
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSampleError, Dataset, Example, Sample
from kerastransfer.data.images import read_mask
from kerastransfer.data.layouts.files import folders, images_under, split_of
from kerastransfer.data.layouts.objects import corners_of, objects, painted
from kerastransfer.data.reading import Reader

FORM = "folders ID/ with images/ID.png and masks/*.png, or stage1_train/ above them"


def recognises(folder: Path) -> bool:
    return folder.is_dir() and any(_is_sample(path) for stage in _stages(folder) for path in folders(stage)[:3])


def read(folder: Path) -> Dataset:
    samples = []
    for stage in _stages(folder):
        for path in filter(_is_sample, folders(stage)):
            fields = frozenset({"boxes", "masks", "segmentation"} if (path / "masks").is_dir() else ())
            reader = Reader(path / "images" / f"{path.name}.png", functools.partial(_annotations, path), fields)
            samples.append(Sample(path.name, reader, fields, split_of([stage.name])))
    samples.sort(key=lambda sample: sample.name)
    return Dataset(folder.name, tuple(samples), ("nucleus",), ("background", "nucleus"))


def _stages(folder: Path) -> list[Path]:
    return [path for path in folders(folder) if path.name.startswith("stage")] or [folder]


def _is_sample(path: Path) -> bool:
    return (path / "images").is_dir() and (path / "images" / f"{path.name}.png").is_file()


def _annotations(path: Path, size: tuple[int, int], wanted: frozenset[str]) -> Example:
    masks = [read_mask(file, size) > 0 for file in images_under(path / "masks").values()]
    if not masks:
        raise BadSampleError("masks/ is empty; every image of this set shows nuclei")
    example = objects(corners_of(masks), np.zeros(len(masks)), size, masks=masks)
    return example | {"segmentation": painted(example)}

"""Training images whose masks are made from their boxes and colours; no true masks are read."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import PIL.Image

from kerastransfer import files
from kerastransfer.codecs.pseudo_masks import pseudo_mask
from kerastransfer.codecs.votes import inside_boxes
from kerastransfer.data.dataset import BadSampleError, Dataset, Example, Sample, taught
from kerastransfer.phases import dense_maps
from kerastransfer.progress import bar
from kerastransfer.runs.folder import RunFolder
from kerastransfer.vocabulary import VOID


def pseudo_masked(train: Dataset, run: RunFolder, quiet: bool) -> Dataset:
    """`train`, which has boxes, with masks that are made from the boxes and written to predictions/from_boxes."""
    folder = run.predictions / "from_boxes"

    def work() -> dict:
        classes = dense_maps.classes_of(train, train.classes)
        for sample in bar(None if quiet else "masks from boxes")(train.samples):
            example = sample.read()
            kept = taught(example)
            values = np.ones(kept.sum(), int) if classes.merge else example["labels"][kept] + 1
            mask = pseudo_mask(example["image"], example["boxes"][kept], values.tolist())
            ignored = inside_boxes(example["boxes"][~kept], mask.shape)
            mask[ignored & (mask == 0)] = VOID
            with files.replacing(_path(folder, sample)) as temporary:
                PIL.Image.fromarray(mask).save(temporary)
        return {}

    run.phase("from_boxes", work)
    samples = tuple(
        dataclasses.replace(
            sample,
            read=functools.partial(_with_mask, sample, _path(folder, sample)),
            fields=sample.fields | {"segmentation"},
        )
        for sample in train.samples
    )
    return dataclasses.replace(train, samples=samples)


def _with_mask(sample: Sample, path: Path) -> Example:
    try:
        with PIL.Image.open(path) as picture:
            return {**sample.read(), "segmentation": np.asarray(picture)}
    except OSError as error:
        raise BadSampleError(f"its mask from boxes cannot be read ({error})") from error


def _path(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.name.replace('/', '_')}.png"

"""Images whose masks are made from their boxes and colours; no true masks are read."""

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np
import PIL.Image

from kerastransfer import files
from kerastransfer.codecs.pseudo_masks import pseudo_mask
from kerastransfer.codecs.votes import inside_boxes
from kerastransfer.data.dataset import BadSampleError, Dataset, Example, Sample, taught
from kerastransfer.errors import UserError
from kerastransfer.phases import dense_maps
from kerastransfer.progress import bar
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.vocabulary import VOID

NO_MASKS = (
    "No image of these data has a mask, so masks of the test images are made from their boxes, too: the scores of "
    "segmenters tell how well such masks are repeated, not how right they are. Look at the pictures."
)
# The phase that makes masks of test images, where nobody drew any.
TEST_PHASE = "from_boxes_test"


def where_there_are_none(data: Data, field: str, run: RunFolder, quiet: bool) -> tuple[Data, str]:
    """`data` and "", if they have a segmentation; else `data` with one that is made from the boxes, and `NO_MASKS`.

    field: that of the boxes. Raises UserError where there are more classes than a segmentation holds.
    """
    if "segmentation" in data.parts:
        return data, ""
    if len(data.dataset.classes) >= VOID:
        raise UserError(
            f"{data.dataset.name} has {len(data.dataset.classes)} classes; a segmentation holds at most {VOID - 1}, so "
            "choose or join some (--classes, --merge)"
        )
    if run.leads:
        print(f"note: {NO_MASKS}", file=sys.stderr)
    names = ("background", *data.dataset.classes)
    dataset, train, test = (
        dataclasses.replace(one, segmentation_classes=names) for one in (data.dataset, *data.parts[field])
    )
    masked = pseudo_masked(train, run, quiet), pseudo_masked(test, run, quiet, TEST_PHASE, NO_MASKS)
    return Data(dataset, data.rule, {**data.parts, field: (train, test), "segmentation": masked}), NO_MASKS


def pseudo_masked(part: Dataset, run: RunFolder, quiet: bool, phase: str = "from_boxes", remark: str = "") -> Dataset:
    """`part`, which has boxes, with masks that are made from the boxes and written to predictions/from_boxes.

    remark: what the model card says of the scores.
    """
    folder = run.predictions / "from_boxes"

    def work() -> dict:
        classes = dense_maps.classes_of(part, part.classes)
        for sample in bar(None if quiet else "masks from boxes")(part.samples):
            example = sample.read()
            kept = taught(example)
            values = np.ones(kept.sum(), int) if classes.merge else example["labels"][kept] + 1
            mask = pseudo_mask(example["image"], example["boxes"][kept], values.tolist())
            ignored = inside_boxes(example["boxes"][~kept], mask.shape)
            mask[ignored & (mask == 0)] = VOID
            with files.replacing(_path(folder, sample)) as temporary:
                PIL.Image.fromarray(mask).save(temporary)
        return {"remark": remark} if remark else {}

    run.phase(phase, work)
    samples = tuple(
        dataclasses.replace(
            sample,
            read=functools.partial(_with_mask, sample, _path(folder, sample)),
            fields=sample.fields | {"segmentation"},
        )
        for sample in part.samples
    )
    return dataclasses.replace(part, samples=samples)


def _with_mask(sample: Sample, path: Path) -> Example:
    try:
        with PIL.Image.open(path) as picture:
            return {**sample.read(), "segmentation": np.asarray(picture)}
    except OSError as error:
        raise BadSampleError(f"its mask from boxes cannot be read ({error})") from error


def _path(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.name.replace('/', '_')}.png"

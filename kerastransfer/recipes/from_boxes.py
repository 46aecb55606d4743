"""Training images whose masks come from their boxes and a detector that was trained on these: no true mask is read."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import PIL.Image

from kerastransfer import files
from kerastransfer.codecs.pseudo_masks import pseudo_mask
from kerastransfer.data.dataset import BadSampleError, Dataset, Example, Sample
from kerastransfer.errors import UserError
from kerastransfer.recipes import dense_maps, trained
from kerastransfer.recipes.run_folder import RunFolder

OUTPUT_STRIDE = 8  # of the votes; finer ones change little (docs/dense.md)
THRESHOLD_IMAGES = 24


def detector_of(encoder: str | Path) -> Path:
    """The detector that an encoder.npz was taken from. Raises UserError where it does not lie beside it."""
    path = Path(encoder).with_name("yolov1.keras")
    if not path.is_file():
        raise UserError(f"{path}: no such file; --masks from-boxes needs the detector beside its encoder.npz")
    return path


def pseudo_masked(train: Dataset, detector: str | Path, run: RunFolder, quiet: bool) -> Dataset:
    """`train`, which has boxes, with masks that follow from them; each is written to predictions/from_boxes."""
    folder = run.predictions / "from_boxes"

    def work() -> dict:
        classes = dense_maps.classes_of(train, dense_maps.read_detector(detector)[1].labels)
        predictor = dense_maps.open_maps(detector, OUTPUT_STRIDE, dilate=True, merge=classes.merge)
        few = trained.spread(train, THRESHOLD_IMAGES)
        chosen = dense_maps.thresholds(predictor, few, classes)["votes"]
        for sample in dense_maps.bar(quiet, "masks from boxes")(train.samples):
            example = sample.read()
            kept = ~example["crowd"]
            values = np.ones(kept.sum(), int) if classes.merge else example["labels"][kept] + 1
            votes = predictor.maps(example["image"]).votes
            mask = pseudo_mask(example["image"], example["boxes"][kept], values.tolist(), votes, chosen)
            with files.replacing(_path(folder, sample)) as temporary:
                PIL.Image.fromarray(mask).save(temporary)
        return {"detector": str(detector), "thresholds": chosen}

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

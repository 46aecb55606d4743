"""CamVid as in the SegNet tutorial: train/, trainannot/, train.txt and the same for val and test.

The lists name image and mask on a line with a path prefix of the owner's machine; only the last two parts count. In
the masks 0 is sky and 11 unlabelled. Every pixel belongs to a class, so no value means background: sky becomes 1,
bicyclist 11, and unlabelled void. CVAT writes masks of colours with a label_colors.txt (`colour_table`), and calls its
only split default.
"""

import functools
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.inside import within
from kerastransfer.data.layouts.colour_table import ColourTable, indices, table_of
from kerastransfer.data.layouts.files import images_under, lines
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

FORM = "a folder with train/, trainannot/ and train.txt (or the same for val or test)"
CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
UNLABELLED = 11
SPLITS = {"train": "train", "val": "val", "test": "test", "default": None}


def recognises(folder: Path) -> bool:
    return any((folder / split).is_dir() and (folder / f"{split}annot").is_dir() for split in SPLITS)


def read(folder: Path) -> Dataset:
    samples, bad, pairs = [], [], list[tuple[str, Path, Path]]()
    for split in SPLITS:
        for image, mask in _pairs(folder, split):
            try:
                pairs.append((split, within(image, folder), within(mask, folder)))
            except BadSampleError as error:
                bad.append(BadSample(f"{split}/{image.stem}", str(error)))
    table = table_of(folder, [mask for _, _, mask in pairs])
    for split, image, mask in pairs:
        reader = Reader(image, functools.partial(_segmentation, mask, table), frozenset({"segmentation"}))
        samples.append(Sample(f"{split}/{image.stem}", reader, reader.fields, SPLITS[split]))
    samples.sort(key=lambda sample: sample.name)
    classes = table.classes if table else ("background", *CLASSES)
    return Dataset(folder.name, tuple(samples), segmentation_classes=classes, bad=tuple(bad))


def _pairs(folder: Path, split: str) -> list[tuple[Path, Path]]:
    listed = folder / f"{split}.txt"
    if listed.is_file():
        pairs = [line.split() for line in lines(listed)]
        if any(len(pair) != 2 for pair in pairs):
            raise UserError(f"{listed}: every line needs two paths, image and mask")
        return [tuple(folder.joinpath(*Path(path).parts[-2:]) for path in pair) for pair in pairs]
    if not (folder / split).is_dir():
        return []
    images = images_under(folder / split)
    return [(path, folder / f"{split}annot" / f"{stem}.png") for stem, path in images.items()]


def _segmentation(mask: Path, table: ColourTable | None, size: tuple[int, int], wanted: frozenset[str]) -> Example:
    if table:
        return {"segmentation": table.segmentation(mask, size)}
    values = indices(mask, size)
    if values.max() > UNLABELLED:
        raise BadSampleError(f"mask holds value {values.max()}; 0 to {UNLABELLED} are known")
    return {"segmentation": np.where(values == UNLABELLED, VOID, values + 1).astype(np.uint8)}

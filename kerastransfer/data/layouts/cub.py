"""CUB-200-2011: one bird an image, its box, its species, and its silhouette.

    images.txt  bounding_boxes.txt  image_class_labels.txt  train_test_split.txt  classes.txt  images/  segmentations/

Every list begins its lines with the image's id. Boxes are x, y, width, height in pixels; species are the classes of
the boxes and of the images. A silhouette is an average of several annotators: above one half counts as bird. The
archive of segmentations unpacks beside the data set or into it.
"""

import functools
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.images import read_mask
from kerastransfer.data.inside import within
from kerastransfer.data.layouts.files import lines
from kerastransfer.data.layouts.objects import objects
from kerastransfer.data.reading import Reader
from kerastransfer.errors import UserError

FORM = "a folder with images.txt, bounding_boxes.txt, image_class_labels.txt, classes.txt and images/"
SEGMENTATION_CLASSES = ("background", "bird")
_LISTS = ("images.txt", "bounding_boxes.txt", "image_class_labels.txt", "classes.txt")


def recognises(folder: Path) -> bool:
    return all((folder / file).is_file() for file in _LISTS)


def read(folder: Path) -> Dataset:
    paths, boxes, species, names = (_table(folder / file) for file in _LISTS)
    training = _table(folder / "train_test_split.txt") if (folder / "train_test_split.txt").is_file() else {}
    if not all(key.isdecimal() and len(key) < 10 for key in names):
        raise UserError(f"{folder / 'classes.txt'}: a line does not begin with the number of its class")
    label_of = {key: label for label, key in enumerate(sorted(names, key=int))}
    silhouettes = next(
        (path for path in (folder / "segmentations", folder.parent / "segmentations") if path.is_dir()), None
    )
    samples, bad = [], []
    for key, words in paths.items():
        path = " ".join(words)
        try:
            name = Path(path).with_suffix("").as_posix()
            image = within(folder / "images" / path, folder)
            silhouette = within(silhouettes / Path(path).with_suffix(".png"), silhouettes) if silhouettes else None
        except (BadSampleError, ValueError) as error:
            # ValueError: a name that names no file, such as a dot.
            bad.append(BadSample(path, str(error)))
            continue
        masked = silhouette is not None and silhouette.is_file()
        try:
            x, y, width, height = (float(number) for number in boxes[key])
            label = label_of[species[key][0]]
        except (KeyError, ValueError) as error:
            raise UserError(f"{folder}: image {key} ({path}) has no box or species in the lists: {error}") from error
        fields = frozenset({"boxes", "label"} | ({"masks", "segmentation"} if masked else set()))
        reader = Reader(image, functools.partial(_annotations, (x, y, width, height), label, silhouette), fields)
        split = {"1": "train", "0": "test"}.get(training.get(key, [""])[0])
        samples.append(Sample(name, reader, fields, split))
    samples.sort(key=lambda sample: sample.name)
    classes = tuple(names[key][0] for key in label_of)
    return Dataset(
        folder.name, tuple(samples), classes, SEGMENTATION_CLASSES if silhouettes else (), classes, bad=tuple(bad)
    )


def silhouette_of(grey: np.ndarray) -> np.ndarray:
    """Foreground (H, W) bool of a silhouette in greys: value / 255 > 0.5, as in ElSedfy, "Exploring YOLO Encoder
    Transfer from Detection to Segmentation"."""
    return grey > 127


def _table(path: Path) -> dict[str, list[str]]:
    rows = [line.split() for line in lines(path)]
    if any(len(row) < 2 for row in rows):
        raise UserError(f"{path}: a line has no value after the id")
    return {key: values for key, *values in rows}


def _annotations(
    box: tuple[float, float, float, float],
    label: int,
    silhouette: Path | None,
    size: tuple[int, int],
    wanted: frozenset[str],
) -> Example:
    masked = not wanted.isdisjoint({"masks", "segmentation"})
    bird = silhouette_of(read_mask(silhouette, size)) if masked else None
    x, y, width, height = box
    example = objects([(y, x, y + height, x + width)], [label], size, masks=[bird] if masked else None)
    example["label"] = np.asarray(label, np.int32)
    return example | {"segmentation": bird.astype(np.uint8)} if masked else example

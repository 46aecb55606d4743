"""Oxford-IIIT Pet: images/, annotations/trimaps/ (1 pet, 2 background, 3 border), annotations/xmls/ (the head's box).

The border becomes void. Boxes of heads have the classes cat and dog and exist for some images only; the breed is the
image's label. `trainval.txt` trains, `test.txt` tests; an image in neither has no split. Suffixes lie here (a GIF and
a PNG are called .jpg). Every image shows a pet, so a trimap without one is an error of the owner's and a bad sample.
"""

import functools
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Example, Sample
from kerastransfer.data.images import read_mask
from kerastransfer.data.inside import within
from kerastransfer.data.layouts import voc
from kerastransfer.data.layouts.files import images_under, lines, of_suffix, xml
from kerastransfer.data.layouts.objects import objects
from kerastransfer.data.reading import Reader
from kerastransfer.vocabulary import VOID

FORM = "a folder with images/ and annotations/trimaps/"
CLASSES = ("cat", "dog")
SEGMENTATION_CLASSES = ("background", "pet")


def recognises(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "annotations" / "trimaps").is_dir()


def read(folder: Path) -> Dataset:
    annotations = folder / "annotations"
    images, trimaps = images_under(folder / "images"), images_under(annotations / "trimaps")
    heads = {path.stem: path for path in of_suffix(annotations / "xmls", ".xml") if path.name[0] != "."}
    splits = {}
    for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
        if (annotations / file).is_file():
            splits |= {line.split()[0]: split for line in lines(annotations / file)}
    stems = sorted({*images, *trimaps, *heads, *splits})
    breeds = tuple(sorted({breed_of(stem) for stem in stems} - {""}))
    samples, bad = [], []
    for stem in stems:
        files = {"segmentation": trimaps.get(stem), "boxes": heads.get(stem)}
        fields = frozenset(field for field, path in files.items() if path is not None)
        breed = breeds.index(breed_of(stem)) if breed_of(stem) else None
        fields |= {"label"} if breed is not None else set()
        try:
            image = images[stem] if stem in images else within(folder / "images" / f"{stem}.jpg", folder)
        except BadSampleError as error:
            bad.append(BadSample(stem, str(error)))
            continue
        reader = Reader(image, functools.partial(_annotations, files, breed), fields)
        samples.append(Sample(stem, reader, fields, splits.get(stem)))
    return Dataset(folder.name, tuple(samples), CLASSES, SEGMENTATION_CLASSES, breeds, bad=tuple(bad))


def breed_of(stem: str) -> str:
    """american_bulldog_10 -> american_bulldog; empty where the name has no such form."""
    return stem.rpartition("_")[0]


def segmentation(trimap: np.ndarray) -> np.ndarray:
    """Trimap (H, W) to segmentation (H, W) uint8. Raises BadSampleError for other values and where no pet is."""
    # Indexed by the value of the trimap; 0 is unused.
    values = np.array([VOID, 1, 0, VOID], np.uint8)
    if trimap.min() < 1 or trimap.max() > 3:
        raise BadSampleError(f"trimap holds value {trimap.max() if trimap.min() else 0}; 1, 2 and 3 are known")
    if not (trimap == 1).any():
        raise BadSampleError("trimap has no pet pixel, but every image shows a pet")
    return values[trimap]


def _annotations(
    files: dict[str, Path | None], breed: int | None, size: tuple[int, int], wanted: frozenset[str]
) -> Example:
    example = {} if breed is None else {"label": np.asarray(breed, np.int32)}
    if "boxes" in wanted:
        annotation = xml(files["boxes"])
        voc.check_size(annotation, size)
        things = list(annotation.iter("object"))
        names = [thing.findtext("name", "").lower() for thing in things]
        if not set(names) <= set(CLASSES):
            raise BadSampleError(f"object named {names[0]!r}; cat and dog are known")
        example |= objects([voc.corners(thing) for thing in things], [CLASSES.index(name) for name in names], size)
    if "segmentation" in wanted:
        example["segmentation"] = segmentation(read_mask(files["segmentation"], size))
    return example

"""How much of an object of VOC2007's test images is occluded, as Hoiem et al. 2012 annotated it.

    VOC2007_annotations_test.mat    the struct `ann`, whose gt(1..20) are the objects of each class of VOC

Of the 20 classes 7 are annotated (aeroplane, bicycle, bird, boat, cat, chair, diningtable), and of them the objects
that are not difficult. The photos are VOC's own.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.presets.labels import VOC

FILE = "VOC2007_annotations_test.mat"
# Of the area of an object: none, 1 to 10 %, 10 to 50 %, 50 to 100 %.
LEVELS = ("none", "low", "medium", "high")
UNKNOWN = -1
# The boxes of both files are the same, but for what a reader cut off at the border of the image.
SAME_BOX = 0.9


@dataclasses.dataclass(frozen=True)
class Attributes:
    """The N objects of a class, in the order of the file.

    images (N,): names such as "000067". numbers (N,): which object of its image it is, from 1, as the xml counts.
    boxes (N, (y1, x1, y2, x2)): in pixels, edges from 0, the end excluded. difficult, truncated (N,) bool.
    occlusion (N,) int8: the number of its level in `LEVELS`, UNKNOWN where it is not annotated.
    """

    images: np.ndarray
    numbers: np.ndarray
    boxes: np.ndarray
    difficult: np.ndarray
    truncated: np.ndarray
    occlusion: np.ndarray

    def counts(self) -> tuple[int, ...]:
        """How many objects that are not difficult are of each level."""
        known = self.occlusion[~self.difficult & (self.occlusion != UNKNOWN)]
        return tuple(np.bincount(known, minlength=len(LEVELS)).tolist())


def read(folder: str | os.PathLike) -> dict[str, Attributes]:
    """{class of VOC: its objects}, from the file itself, its folder, or the folder above. Raises UserError."""
    path = Path(folder)
    places = (path, path / FILE, path / "annotations" / FILE)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(
            f"{path}: no {FILE} here or in annotations/; give the folder of Hoiem et al.'s detectionAnalysis"
        )
    from scipy.io import loadmat

    try:
        # Without structs of NumPy: their fields are arrays of arrays.
        classes = np.atleast_1d(loadmat(found, squeeze_me=True, struct_as_record=False)["ann"].gt)
        attributes = [_attributes(one) for one in classes]
    # SciPy says NotImplementedError of files of MATLAB 7.3; the others are those of damaged and of other files.
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise UserError(f"{found}: not the annotations of Hoiem et al. ({' '.join(str(error).split())})") from None
    if len(attributes) != len(VOC):
        raise UserError(f"{found}: {len(attributes)} classes; the {len(VOC)} of VOC are needed")
    return dict(zip(VOC, attributes, strict=True))


def _attributes(one) -> Attributes:
    # The file has uint16.
    x1, y1, x2, y2 = np.asarray(one.bbox, np.float64).reshape(-1, 4).T
    # From 1 in the file; 0 and below are unknown.
    levels = [int(getattr(details, "occ_level", 0)) - 1 for details in np.atleast_1d(one.details)]
    return Attributes(
        images=np.atleast_1d(one.ids).astype(str),
        numbers=np.atleast_1d(one.onum).astype(int),
        boxes=np.stack([y1 - 1, x1 - 1, y2, x2], axis=1),
        difficult=np.atleast_1d(one.isdiff).astype(bool),
        truncated=np.atleast_1d(one.istrunc).astype(bool),
        occlusion=np.array(levels, np.int8),
    )


def occlusion(
    attributes: Mapping[str, Attributes],
    names: Sequence[str],
    truths: Sequence[Mapping[str, np.ndarray]],
    classes: Sequence[str],
) -> list[np.ndarray]:
    """The level of occlusion (N,) int8 of the objects of each image, UNKNOWN where it is not annotated.

    names: of the images, such as "VOC2007/000067", of which the last part counts. truths: for each image boxes
        (N, (y1, x1, y2, x2)) in pixels of VOC's own photos, and labels (N,), which are numbers of `classes`.
    An object is the one of its image and class with the same box.
    """
    rows = {}
    for label, one in attributes.items():
        for row, image in enumerate(one.images.tolist()):
            rows.setdefault((image, label), []).append(row)
    levels = []
    for name, truth in zip(names, truths, strict=True):
        image = PurePosixPath(name).name
        found = np.full(len(truth["labels"]), UNKNOWN, np.int8)
        for k, label in enumerate(truth["labels"]):
            among = rows.get((image, classes[label])) if label >= 0 else None
            if among:
                one = attributes[classes[label]]
                shared = _iou(truth["boxes"][k], one.boxes[among])
                if shared.max() >= SAME_BOX:
                    found[k] = one.occlusion[among[int(shared.argmax())]]
        levels.append(found)
    return levels


def _iou(box, others):
    """IoU of a box (4,) and others (M, 4) as (M,)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(0).prod(axis=1)
    areas = np.prod(box[2:] - box[:2]) + (others[:, 2:] - others[:, :2]).prod(axis=1)
    return shared / np.maximum(areas - shared, 1e-12)

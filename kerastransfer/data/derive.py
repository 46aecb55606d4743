"""Annotations that follow from others: boxes from masks, segmentation from objects."""

import dataclasses

import numpy as np
from scipy import ndimage

from kerastransfer.data.dataset import FIELDS, BadSampleError, Dataset, Example, Sample, part, taught
from kerastransfer.data.layouts.objects import corners_of, objects, painted
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

FOLLOWS_FROM = {
    "boxes": {"boxes", "masks", "segmentation"},
    "masks": {"masks", "segmentation"},
    "segmentation": {"segmentation", "masks"},
    "label": {"label", "boxes"},
}
# A share of the image, 60 pixels at 352 x 352. Smaller components are specks of a brush or of JPEG.
SMALLEST = 5e-4


def require(dataset: Dataset, *fields: str) -> Dataset:
    """`dataset` where at least one sample has each of `fields`, which are derived where they follow from others.

    Boxes and masks follow from a segmentation (its connected components) where nobody drew boxes; a segmentation from
    the masks of objects; the label of an image from its largest object. Raises UserError for what cannot be derived.
    Samples that lack a field stay: `Dataset.having` leaves them out.
    """
    there = {field for sample in dataset.samples for field in sample.fields}
    if not {"boxes", "masks"}.isdisjoint(fields) and "segmentation" in there and "boxes" not in there:
        dataset = boxes_from_segmentation(dataset)
    if "segmentation" in fields and "masks" in there and "segmentation" not in there:
        dataset = _segmentation_from_masks(dataset)
    if "label" in fields and "boxes" in there and "label" not in there:
        dataset = _label_from_objects(dataset)
    now = {field for sample in dataset.samples for field in sample.fields}
    lacking = [field for field in fields if field not in now]
    if lacking:
        has = ", ".join(sorted(there)) or "images only"
        cure = {
            "boxes": "boxes need a box per object, masks of objects, or a segmentation",
            "masks": "masks need an outline or a mask per object; boxes alone do not tell one",
            "segmentation": "a segmentation needs class masks or a mask per object; boxes alone do not tell one "
            "(yolo_segnet --masks from-boxes makes masks from them)",
            "label": "a label needs a class per image",
        }
        raise UserError(f"{dataset.name} has {has}, but {' and '.join(lacking)} needed: {cure[lacking[0]]}")
    return dataset


def tells(dataset: Dataset, field: str) -> bool:
    """Whether a sample has `field`, or something that it follows from."""
    return any(not FOLLOWS_FROM[field].isdisjoint(sample.fields) for sample in dataset.samples)


def boxes_from_segmentation(dataset: Dataset, smallest: float = SMALLEST) -> Dataset:
    """Every connected component (8 neighbours) of a class as an object with box and mask, its class minus background.

    Components below the share `smallest` of the image are ignored. Samples without a segmentation lose their boxes:
    the classes are now those of the segmentation.
    """

    def derived(sample: Sample) -> Sample:
        kept = sample.fields - {"boxes", "masks"}
        if "segmentation" not in sample.fields:
            return dataclasses.replace(sample, fields=kept)
        return dataclasses.replace(sample, read=_Components(sample, smallest), fields=kept | {"boxes", "masks"})

    samples = tuple(derived(sample) for sample in dataset.samples)
    return dataclasses.replace(dataset, samples=samples, classes=dataset.segmentation_classes[1:])


@dataclasses.dataclass(frozen=True)
class _Components:
    """Reads a sample, and takes the components of its segmentation for objects."""

    sample: Sample
    smallest: float

    def __call__(self) -> Example:
        example = self.sample.read()
        # What was annotated of other objects is not said of these.
        kept = {name: values for name, values in example.items() if name not in FIELDS["boxes"]}
        return kept | _components(example["segmentation"], self.smallest)

    def annotations(self, fields: frozenset[str]) -> Example:
        if fields.isdisjoint({"boxes", "masks"}):
            return self.sample.annotations(*fields)
        example = self.sample.annotations("segmentation", *(fields - {"boxes", "masks"}))
        found = part(_components(example["segmentation"], self.smallest), fields & {"boxes", "masks"})
        return {"size": example["size"]} | part(example, fields - {"boxes", "masks"}) | found


def _components(segmentation: np.ndarray, smallest: float) -> Example:
    masks, labels = [], []
    for value in np.setdiff1d(segmentation, [0, VOID]):
        components, _ = ndimage.label(segmentation == value, np.ones((3, 3)))
        areas = np.bincount(components.ravel())[1:]
        kept = 1 + np.flatnonzero(areas >= smallest * segmentation.size)
        masks += [components == component for component in kept]
        labels += [value - 1] * len(kept)
    return objects(corners_of(masks), labels, segmentation.shape, masks=masks)


def _segmentation_from_masks(dataset: Dataset) -> Dataset:
    if len(dataset.classes) >= VOID:
        raise UserError(f"{dataset.name} has {len(dataset.classes)} classes; a segmentation holds at most {VOID - 1}")

    def derived(sample: Sample) -> Sample:
        if "masks" not in sample.fields:
            return sample
        return dataclasses.replace(sample, read=_Painted(sample), fields=sample.fields | {"segmentation"})

    samples = tuple(derived(sample) for sample in dataset.samples)
    return dataclasses.replace(dataset, samples=samples, segmentation_classes=("background", *dataset.classes))


def _label_from_objects(dataset: Dataset) -> Dataset:
    def derived(sample: Sample) -> Sample:
        labelled = _Labelled(sample)
        if "boxes" not in sample.fields or not labelled.found():
            return sample
        return dataclasses.replace(sample, read=labelled, fields=sample.fields | {"label"})

    samples = tuple(derived(sample) for sample in dataset.samples)
    return dataclasses.replace(dataset, samples=samples, image_classes=dataset.classes)


@dataclasses.dataclass(frozen=True)
class _Labelled:
    """Reads a sample, whose label is the class of its largest object; of equal ones the first counts."""

    sample: Sample

    def __call__(self) -> Example:
        return self.sample.read() | {"label": self._label()}

    def example(self, fields: frozenset[str]) -> Example:
        label = {"label": self._label()} if "label" in fields else {}
        return self.sample.example(*(fields - {"label"})) | label

    def annotations(self, fields: frozenset[str]) -> Example:
        label = {"label": self._label()} if "label" in fields else {}
        return self.sample.annotations(*(fields - {"label"})) | label

    def found(self) -> bool:
        """Whether there is an object to take the label from."""
        try:
            return bool(taught(self.sample.annotations("boxes")).any())
        except BadSampleError:
            # It was damaged since the run that goes on began, and keeps its place.
            return True

    def _label(self) -> np.ndarray:
        example = self.sample.annotations("boxes")
        areas = np.prod(example["boxes"][:, 2:] - example["boxes"][:, :2], axis=-1)
        return np.asarray(example["labels"][np.where(taught(example), areas, -1).argmax()], np.int32)


@dataclasses.dataclass(frozen=True)
class _Painted:
    """Reads a sample, and paints its masks into a segmentation."""

    sample: Sample

    def __call__(self) -> Example:
        example = self.sample.read()
        return example | {"segmentation": painted(example)}

    def example(self, fields: frozenset[str]) -> Example:
        return self() if "segmentation" in fields else self.sample.example(*fields)

    def annotations(self, fields: frozenset[str]) -> Example:
        if "segmentation" not in fields:
            return self.sample.annotations(*fields)
        example = self.sample.annotations("boxes", "masks", *fields)
        painting = {"segmentation": painted(example)}
        return {"size": example["size"]} | part(example | painting, fields & (self.sample.fields | painting.keys()))

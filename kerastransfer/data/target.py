"""One class of a segmentation against all else, as in Dippel et al. 2022, section 5 (buses, aeroplanes, cats)."""

import dataclasses

import numpy as np

from kerastransfer.data.dataset import Dataset, Example, Sample
from kerastransfer.errors import UserError
from kerastransfer.flags import nearest
from kerastransfer.vocabulary import VOID


def only(dataset: Dataset, target: str) -> Dataset:
    """The images with at least one pixel of the class `target`, whose segmentation knows this class and background.

    Raises UserError for a class that the data does not have.
    """
    known = dataset.segmentation_classes[1:]
    if target not in known:
        near = f" (nearest: {nearest(target, known)})" if known else ""
        raise UserError(f"--target {target} is not a class of {dataset.name}; choose {', '.join(known)}{near}")
    value = dataset.segmentation_classes.index(target)
    samples = []
    for sample in dataset.having("segmentation"):
        segmentation = sample.annotations("segmentation")["segmentation"]
        if (segmentation == value).any():
            # Boxes and the label are of other classes too.
            samples.append(dataclasses.replace(sample, read=_Only(sample, value), fields=frozenset({"segmentation"})))
    if not samples:
        raise UserError(f"{dataset.name}: no image has a pixel of the class {target}")
    return dataclasses.replace(
        dataset, samples=tuple(samples), classes=(), segmentation_classes=("background", target), image_classes=()
    )


@dataclasses.dataclass(frozen=True)
class _Only:
    """Reads a sample; of its segmentation one value becomes 1, void stays, and all else is background."""

    sample: Sample
    value: int

    def __call__(self) -> Example:
        example = self.sample.read()
        return {"image": example["image"], "segmentation": self._mapped(example)}

    def annotations(self, fields: frozenset[str]) -> Example:
        if "segmentation" not in fields:
            return {"size": self.sample.annotations()["size"]}
        example = self.sample.annotations("segmentation")
        return {"size": example["size"], "segmentation": self._mapped(example)}

    def _mapped(self, example):
        segmentation = example["segmentation"]
        found = np.where(segmentation == self.value, 1, 0)
        return np.where(segmentation == VOID, VOID, found).astype(np.uint8)

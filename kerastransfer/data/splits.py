"""Which images train and which test: fixed rules on names, so that every run and every phase agrees."""

import hashlib

from kerastransfer.data.dataset import Dataset
from kerastransfer.errors import UserError

RULES = ("auto", "owner", "every_fifth")


def split(dataset: Dataset, rule: str = "auto", fields: tuple[str, ...] = ()) -> tuple[Dataset, Dataset]:
    """(train, test), both only of samples that have all of `fields`.

    owner: the owner's train and test; the owner's val tests where test has no sample with the fields.
    every_fifth: of all names in order, whatever their fields, the 5th, 10th, ... test and the rest trains: phases that
        ask for different fields then never train on each other's test images.
    auto: owner where both of its sides have a sample with each of boxes and segmentation that anyone annotated, else
        every_fifth: whatever a phase asks for, it is the same rule for the same data.
    Raises UserError where a side stays empty.
    """
    if rule not in RULES:
        raise UserError(f"split rule {rule!r} is not known; known are {', '.join(RULES)}")
    _someone_has(dataset, fields)
    rule = resolved(dataset, rule)
    if rule != "every_fifth":
        train, validation, test = (_owners(dataset, part).having(*fields) for part in ("train", "val", "test"))
        test = test if len(test) else validation
        if not len(train) or not len(test):
            raise UserError(
                f"{dataset.name} has no owner's split for {' and '.join(fields) or 'its images'}: {len(train)} images "
                f"train and {len(test)} test; use the rule every_fifth"
            )
        return train, test
    train, test = (part.having(*fields) for part in _every(dataset, 5))
    if not len(train) or not len(test):
        raise UserError(
            f"{dataset.name}: {len(dataset)} images, of which {len(dataset.having(*fields))} have "
            f"{' and '.join(fields) or 'what is needed'}, leave {len(train)} to train and {len(test)} to test; "
            "every fifth tests, so give 5 images or more"
        )
    return train, test


def resolved(dataset: Dataset, rule: str) -> str:
    """The rule itself, or the one that "auto" stands for with this data."""
    if rule != "auto":
        return rule
    annotated = {field for sample in dataset.samples for field in sample.fields} & {"boxes", "segmentation"}
    train, validation, test = (_owners(dataset, part) for part in ("train", "val", "test"))

    def has(part: Dataset) -> bool:
        return all(len(part.having(field)) for field in annotated) and len(part) > 0

    return "owner" if has(train) and (has(test) or has(validation)) else "every_fifth"


def holdout(train: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(train, validation): the share in (0, 1) of a training part, drawn by `seed`, is kept aside for validation.

    Raises UserError where a side stays empty.
    """
    count = round(share * len(train))
    if not 0 < count < len(train):
        raise UserError(
            f"--validation {share:g} of {len(train)} training images leaves {len(train) - count} to train on and "
            f"{count} to validate on; both need one"
        )
    chosen = set(_drawn(train, seed)[:count])
    names = {sample.name for sample in train.samples}
    return train.only(names - chosen), train.only(chosen)


def fraction(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """The share `fraction` in (0, 1] of the samples, drawn by `seed`; a smaller share is a subset of a larger one.

    The order of the draw is that of a hash of seed and name, so one image more or less changes no other's place.
    Raises UserError where no sample is left.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction {fraction:g} is outside (0, 1]")
    count = int(fraction * len(dataset) + 1e-6)  # 0.07 * 100 is a hair under 7.000000000000001
    if count == 0:
        least = f"; {1 / len(dataset):.2g} is the least that leaves one" if len(dataset) else ""
        raise UserError(f"--fraction {fraction:g} of {len(dataset)} training images leaves none{least}")
    return dataset.only(_drawn(dataset, seed)[:count])


def _drawn(dataset: Dataset, seed: int) -> list[str]:
    """All names in the order of the draw."""
    names = [sample.name for sample in dataset.samples]
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def _owners(dataset: Dataset, part: str) -> Dataset:
    return dataset.only(sample.name for sample in dataset.samples if sample.split == part)


def _every(dataset: Dataset, every: int) -> tuple[Dataset, Dataset]:
    names = sorted(sample.name for sample in dataset.samples)
    chosen = set(names[every - 1 :: every])
    return dataset.only(set(names) - chosen), dataset.only(chosen)


def _someone_has(dataset: Dataset, fields: tuple[str, ...]) -> None:
    if not len(dataset.having(*fields)):
        there = sorted({field for sample in dataset.samples for field in sample.fields})
        raise UserError(
            f"{dataset.name}: none of {len(dataset)} images has {' and '.join(fields) or 'been found'}; "
            f"annotated are {', '.join(there) or 'none'}"
        )

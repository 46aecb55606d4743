"""Which images train and which test: fixed rules on names, so that every run and every phase agrees."""

import hashlib
from collections.abc import Iterable

import numpy as np

from kerastransfer.data.dataset import FIELDS, Dataset, Sample, taught
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

RULES = ("auto", "owner", "every_fifth")


def split(dataset: Dataset, rule: str = "auto", fields: tuple[str, ...] = ()) -> tuple[Dataset, Dataset]:
    """(train, test), both only of samples that have all of `fields`.

    owner: the owner's train and test; the owner's val tests where test has no sample with the fields.
    every_fifth: of all names in order, whatever their fields, the 5th, 10th, ... test and the rest trains: phases that
        ask for different fields then never train on each other's test images.
    auto: owner where both of its sides have a sample with each field that is annotated anywhere, else every_fifth:
        whatever a phase asks for, it is the same rule for the same data.
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
    annotated = {field for sample in dataset.samples for field in sample.fields} & FIELDS.keys()
    train, validation, test = (_owners(dataset, part) for part in ("train", "val", "test"))

    def has(part: Dataset) -> bool:
        return all(len(part.having(field)) for field in annotated) and len(part) > 0

    return "owner" if has(train) and (has(test) or has(validation)) else "every_fifth"


def holdout(train: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(train, validation): `share` of the training images is held out, for tuning without a look at the test images.

    Each class has its share in both, as far as images with several classes allow it, and none is lost from training.
    An image's classes are its label and those of its objects, or of its segmentation where it has no boxes. The draw
    depends on seed, names and classes alone. Raises UserError where a side stays empty.
    """
    count = round(share * len(train)) if 0 < share < 1 else 0
    if not 0 < count < len(train):
        raise UserError(
            f"{train.name}: a validation share of {share:g} leaves {len(train) - count} of {len(train)} images to "
            f"train and {count} for validation; give a share between 0 and 1 that leaves some for both"
        )
    samples = sorted(train.samples, key=lambda sample: draw(seed, sample.name))
    classes = [classes_of(sample) for sample in samples]
    every = sorted(set().union(*classes))
    held = spread(np.array([[one in own for one in every] for own in classes]), count)
    if not len(held):
        raise UserError(
            f"{train.name}: each of the {len(train)} training images is the only one of its class, so none can be "
            "spared for validation"
        )
    names = {samples[index].name for index in held}
    return train.only({sample.name for sample in samples} - names), train.only(names)


def spread(membership: np.ndarray, count: int) -> np.ndarray:
    """Row numbers (count,) of images that have the classes of all in proportion, from membership (N, K) bool.

    The images stand in order of the rarest of their classes, and those at equal distances are taken; in place of the
    last one that is left of a class the nearest other, so there may be fewer than `count`. Each image needs a class.
    """
    total = membership.sum(axis=0)
    rarest = np.where(membership, total, len(membership) + 1).argmin(axis=1)
    order = np.lexsort((rarest, total[rarest]))
    ordered = membership[order]
    left, free = total.copy(), np.ones(len(order), bool)
    taken = []
    for middle in (np.arange(count) + 0.5) * len(order) / count:
        spared = free & ~ordered[:, left < 2].any(axis=1)
        if not spared.any():
            break
        places = np.flatnonzero(spared)
        place = places[np.abs(places - int(middle)).argmin()]
        taken.append(order[place])
        free[place] = False
        left -= ordered[place]
    return np.array(taken, int)


def classes_of(sample: Sample) -> set[tuple[str, int]]:
    """The classes of an image, as (field, class): its label and those of its objects, or of its segmentation where it
    has no boxes; {("none", 0)} where there are none."""
    fields = [field for field in ("label", "boxes") if field in sample.fields]
    if not fields and "segmentation" in sample.fields:
        fields = ["segmentation"]
    example = sample.annotations(*fields)
    found = set()
    if "label" in example:
        found.add(("label", int(example["label"])))
    if "boxes" in example:
        found |= {("boxes", int(label)) for label in example["labels"][taught(example)]}
    if "segmentation" in example:
        values = np.flatnonzero(np.bincount(example["segmentation"].ravel(), minlength=VOID + 1))
        found |= {("segmentation", int(value)) for value in values if value not in (0, VOID)}
    return found or {("none", 0)}


def fraction(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """The share `fraction` in (0, 1] of the samples, drawn by `seed`; a smaller share is a subset of a larger one.

    The order of the draw is that of a hash of seed and name, so one image more or less changes no other's place.
    Raises UserError where no sample is left.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction {fraction:g} is outside (0, 1]")
    # 0.29 * 100 is 28.999999999999996.
    count = int(fraction * len(dataset) + 1e-6)
    if count == 0:
        least = f"; {1 / len(dataset):.2g} is the least that leaves one" if len(dataset) else ""
        raise UserError(f"--fraction {fraction:g} of {len(dataset)} training images leaves none{least}")
    return dataset.only(drawn((sample.name for sample in dataset.samples), seed)[:count])


def drawn(names: Iterable[str], seed: int) -> list[str]:
    """The names in the order of a draw: of two draws by one seed, the first so many of each are the same."""
    return sorted(names, key=lambda name: draw(seed, name))


def every_nth(names: Iterable[str], step: int = 5) -> set[str]:
    """Of all names in order every `step`-th, which are those that test."""
    return set(sorted(names)[step - 1 :: step])


def draw(seed: int, name: str) -> bytes:
    """What decides a sample's place in a draw, whatever other samples there are."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _owners(dataset: Dataset, part: str) -> Dataset:
    return dataset.only(sample.name for sample in dataset.samples if sample.split == part)


def _every(dataset: Dataset, step: int) -> tuple[Dataset, Dataset]:
    names = {sample.name for sample in dataset.samples}
    chosen = every_nth(names, step)
    return dataset.only(names - chosen), dataset.only(chosen)


def _someone_has(dataset: Dataset, fields: tuple[str, ...]) -> None:
    if not len(dataset.having(*fields)):
        there = sorted({field for sample in dataset.samples for field in sample.fields})
        raise UserError(
            f"{dataset.name}: none of {len(dataset)} images has {' and '.join(fields) or 'been found'}; "
            f"annotated are {', '.join(there) or 'none'}"
        )

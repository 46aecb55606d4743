"""The few images that are labelled (the low-data protocol of Dippel et al. 2022, section 5): drawn so that no class is
lost, and so that a larger draw contains a smaller one."""

import numpy as np

from kerastransfer.data import splits
from kerastransfer.data.dataset import Dataset
from kerastransfer.errors import UserError


def few(train: Dataset, wanted: float, seed: int = 0) -> Dataset:
    """So many of the training images, drawn by `seed`: each class has its share of them as far as that is possible, and
    at least one image. The draw of a larger number with the same seed contains that of a smaller one.

    wanted: a number of images, or a share of them below 1. Raises UserError for less than one image or more than there
    are, for fewer than there are classes, and if no image shows anything but background.
    """
    count = number(train, wanted)
    ordered, classes = in_turn(train, seed)
    if not any(classes):
        raise UserError(f"{train.name}: none of the {len(train)} training images shows anything but background")
    chosen = ordered[:count]
    lost = set().union(*classes) - set().union(*classes[:count])
    if lost:
        every = len(set().union(*classes))
        raise UserError(
            f"--labelled {wanted:g} of {train.name} leaves {len(lost)} of {every} classes without an image; give "
            f"{every} images or more"
        )
    return train.only(chosen)


def in_turn(train: Dataset, seed: int = 0) -> tuple[list[str], list[set]]:
    """The names of the images in an order whose every beginning has the classes of all in proportion, and the classes
    of each, in that order. First comes an image of each class, the rarest first."""
    samples = sorted(train.samples, key=lambda sample: splits.draw(seed, sample.name))
    classes = [{one for one in splits.classes_of(sample) if one[0] != "none"} for sample in samples]
    every = sorted(set().union(*classes))
    # Images without a class are one more kind, which needs no image.
    member = np.array([[one in own for one in every] + [not own] for own in classes], bool)
    share = member.mean(axis=0)
    had, free, order = np.zeros(len(share)), np.ones(len(samples), bool), []
    for number in range(1, len(samples) + 1):
        left = (member & free[:, None]).any(axis=0)
        missing = left & (had == 0)
        missing[-1] = False
        lack = np.where(missing, 1e3 - share, share * number - had)
        kind = int(np.where(left, lack, -np.inf).argmax())
        index = int(np.flatnonzero(free & member[:, kind])[0])
        free[index] = False
        had += member[index]
        order.append(index)
    return [samples[index].name for index in order], [classes[index] for index in order]


def number(train: Dataset, wanted: float) -> int:
    """The number of images that is meant: `wanted` itself, or if it is below 1, that share of the training images.
    Raises UserError for less than one image, more than there are, and for a part of an image."""
    total = len(train)
    if wanted < 1:
        count = round(wanted * total)
        if count < 1:
            raise UserError(
                f"--labelled {wanted:g} of {total} training images is less than one image; give {1 / total:.2g} or "
                "more, or a number of images"
            )
        return count
    if wanted != round(wanted):
        raise UserError(f"--labelled {wanted:g} is neither a whole number of images nor a share of them below 1")
    if wanted > total:
        raise UserError(f"--labelled {wanted:g}: there are only {total} training images with masks; give fewer")
    return int(wanted)

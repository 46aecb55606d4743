"""Images and masks in a pair of folders, whatever they are called, whose files have equal stems.

    images_256/  labels_256/        train_images/  train_masks/  val_images/  val_masks/        photos/  outlines/

The names tell which folder holds the masks (masks, labels, annotations, gt, ...); where they do not, the files do: a
mask is grey or has a palette, and holds few values, and a photo is neither. Masks mean what they mean in
`images_masks`; their names may end in one of `SUFFIXES`.
"""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import BadSampleError, Dataset
from kerastransfer.data.images import read_colours, read_mask
from kerastransfer.data.layouts import images_masks
from kerastransfer.data.layouts.colour_table import beside, packed
from kerastransfer.data.layouts.files import SPLITS, folders, images_under, places, split_of
from kerastransfer.errors import UserError

FORM = "two folders, of images and of masks, whose files have equal names"
SUFFIXES = ("_mask", "-mask", ".mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt", "_trimap")
# CamVid's, of masks in a folder of their own: beside images, L and R are those of the left and the right eye.
CAMVID = "_L"
# The share of the masks that must have an image, so that two folders are a pair.
ENOUGH = 0.5
# Files that are looked at to tell photos from masks, and the most values that a mask holds.
LOOKED_AT = 3
MOST_VALUES = 64

_IMAGE = {"image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "input", "inputs"}
_MASK = {"mask", "masks", "label", "labels", "annotation", "annotations", "annot", "segmentation", "segmentations"}
_MASK |= {"seg", "gt", "groundtruth", "ground", "truth", "target", "targets", "trimap", "trimaps"}
_IGNORED = {"", "png", "jpeg", "jpg"}


def recognises(folder: Path) -> bool:
    return folder.is_dir() and bool(_folder_pairs(folder))


def read(folder: Path) -> Dataset:
    pairs, found = {}, _folder_pairs(folder)
    for images, masks in found:
        others = [other.name for image, other in found if image == images]
        if len(others) > 1:
            raise UserError(
                f"{folder}: the masks of {images.name}/ may be {'/ or '.join(others)}/; move the other folder away"
            )
        prefix = f"{images.parent.name}/" if images.parent != folder else ""
        prefix = f"{images.name}/" if len(found) > 1 and not prefix else prefix
        pairs |= {prefix + stem: pair for stem, pair in matched(images_under(images), images_under(masks)).items()}
    return images_masks.dataset_of(folder, pairs)


def matched(
    images: dict[str, Path], masks: dict[str, Path], suffixes: Iterable[str] = (*SUFFIXES, CAMVID)
) -> dict[str, tuple[Path | None, Path | None]]:
    """{stem: (image, mask)}; either may be missing. A mask goes with the image of its own stem, else with that of its
    stem without one of `suffixes`."""
    stems = {}
    for stem, mask in masks.items():
        short = [stem.removesuffix(end) for end in suffixes if stem.endswith(end)]
        stems[next((one for one in (stem, *short) if one in images), (*short, stem)[0])] = mask
    return {stem: (images.get(stem), stems.get(stem)) for stem in sorted({*images, *stems})}


def named_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The pairs of folders in `folder` that their names tell: (of images, of masks)."""
    known = [(child, *_role(child.name)) for child in folders(folder)]
    return [
        (image, mask)
        for image, role, key in known
        for mask, other, of in known
        if other == "mask" and of == key and (role == "image" or (not role and key[0] and image != mask))
    ]


def _folder_pairs(folder: Path) -> list[tuple[Path, Path]]:
    pairs = [(place / "images", place / "masks") for place in places(folder, "images", "masks")]
    if pairs:
        # The layout images_masks.
        return []
    homes = [folder, *(child for child in folders(folder) if split_of([child.name]))]
    named = [pair for home in homes for pair in named_pairs(home) if _match(*pair)]
    return named or [pair for home in homes for pair in _told_by_content(home)]


def _role(name: str) -> tuple[str, tuple[str | None, tuple[str, ...]]]:
    """("image" | "mask" | "", (split, what else the name says)): train_masks -> ("mask", ("train", ()))."""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = [re.sub(r"\d+$", "", word) for word in re.split(r"[\W_]+", words.lower())]
    roles = {"image" if word in _IMAGE else "mask" for word in words if word in _IMAGE | _MASK}
    split = next((SPLITS[word] for word in words if word in SPLITS), None)
    rest = tuple(word for word in words if word not in _IMAGE | _MASK | SPLITS.keys() | _IGNORED)
    return "mask" if "mask" in roles else "".join(roles), (split, rest)


def _match(images: Path, masks: Path) -> bool:
    """Whether most files in `masks` have a file of the same stem in `images`."""
    pairs = [image for image, mask in matched(images_under(images), images_under(masks)).values() if mask]
    return bool(pairs) and sum(image is not None for image in pairs) >= ENOUGH * len(pairs)


def _told_by_content(folder: Path) -> list[tuple[Path, Path]]:
    """The pair of folders if there are just two, with equal stems, of which one holds masks and the other photos."""
    filled = list(itertools.islice((child for child in folders(folder) if images_under(child)), 3))
    if len(filled) != 2:
        return []
    colours = beside(folder) is not None
    alike = [_looks_like_masks(child, colours) for child in filled]
    if alike[0] == alike[1]:
        return []
    images, masks = filled if alike[1] else filled[::-1]
    return [(images, masks)] if _match(images, masks) else []


def _looks_like_masks(folder: Path, colours: bool) -> bool:
    looked_at = list(images_under(folder).values())[:LOOKED_AT]
    return all(_looks_like_a_mask(path, colours) for path in looked_at)


def _looks_like_a_mask(path: Path, colours: bool) -> bool:
    """colours: a table says what they mean, so a mask may have some."""
    try:
        values = packed(read_colours(path)) if colours else read_mask(path)
        return len(np.unique(values)) <= MOST_VALUES
    except BadSampleError:
        return False

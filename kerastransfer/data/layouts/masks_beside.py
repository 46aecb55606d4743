"""Images with their masks beside them: NAME.jpg and NAME_mask.png in one folder, in any depth.

Suffixes are those of `folder_pairs`; what the values in masks mean is told in `images_masks`.
"""

import re
from pathlib import Path

from kerastransfer.data.dataset import Dataset, remark
from kerastransfer.data.layouts import images_masks
from kerastransfer.data.layouts.files import images_under, listed
from kerastransfer.data.layouts.folder_pairs import ENOUGH, SUFFIXES, matched

FORM = "images and masks side by side, as NAME.jpg and NAME_mask.png"

# x_mask_1 is one more mask of x.
_MASK = re.compile(rf"(.+?)({'|'.join(map(re.escape, SUFFIXES))})(_?\d+)?")


def recognises(folder: Path) -> bool:
    images, masks = _told_apart(folder) if folder.is_dir() else ({}, {})
    return bool(masks) and len(masks) >= ENOUGH * len(images)


def read(folder: Path) -> Dataset:
    return images_masks.dataset_of(folder, matched(*_told_apart(folder)))


def _told_apart(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks by their stems: a mask is what has an image of its stem without the suffix."""
    found = images_under(folder)
    ends = {stem: (_MASK.fullmatch(stem) or {1: None, 3: None}) for stem in found}
    masks = {stem: path for stem, path in found.items() if ends[stem][1] in found}
    further = [stem for stem in masks if ends[stem][3]]
    if further:
        remark(f"of several masks of an image the first is read, not {listed(further)}")
    images = {stem: path for stem, path in found.items() if stem not in masks}
    return images, {stem: path for stem, path in masks.items() if not ends[stem][3]}

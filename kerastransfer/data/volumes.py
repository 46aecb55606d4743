"""Volumes, such as MRI and CT scans: read, checked, turned to one orientation and brought to one range.

A folder is read in the layout of the Medical Segmentation Decathlon,

    imagesTr/NAME.nii.gz   labelsTr/NAME.nii.gz   dataset.json (optional: the names of the labels)

or as arrays, images/NAME.npy and labels/NAME.npy, of which nothing is known but their numbers. A volume without a label
file is trained on without labels. All volumes are held in memory, four bytes a voxel.
"""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import ndimage

from kerastransfer.data import splits, volume_files
from kerastransfer.data.toy_volumes import CLASSES, toy_volume
from kerastransfer.errors import UserError
from kerastransfer.flags import some

# The share of an image's voxels, in percent, that is clipped at either end: a few are often extreme.
CLIPPED = 0.5
# Spacings that differ by less are taken as equal.
SAME_SPACING = 1.05
TOY_COUNT = 60


@dataclasses.dataclass(frozen=True)
class Volume:
    """One volume: image (D, H, W) float32 in 0..1; labels (D, H, W) uint8 or None; spacing, the sides of a voxel in
    millimetres, or None. In volumes of NIfTI files the axes run from left to right, from posterior to anterior, and
    from inferior to superior."""

    name: str
    image: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray | None = dataclasses.field(repr=False)
    spacing: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Volumes:
    """Volumes in order of their names. classes: the names of their labels, of which the first is "background". notes:
    what a person should know of them, a line each."""

    name: str
    volumes: tuple[Volume, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.volumes)

    def only(self, names: Iterable[str]) -> "Volumes":
        """Only the volumes of these names."""
        names = frozenset(names)
        return dataclasses.replace(self, volumes=tuple(one for one in self.volumes if one.name in names))

    def labelled(self) -> "Volumes":
        """Only the volumes with labels."""
        return self.only(one.name for one in self.volumes if one.labels is not None)


def load(data: str | os.PathLike, *, spacing: tuple[float, ...] = ()) -> Volumes:
    """The volumes that `data` names: a folder, or `toy[:COUNT]` for drawn ones.

    spacing: the sides of a voxel in millimetres that all volumes are resampled to; () leaves them as they are.
    Raises UserError, in a line that names the file, for anything that cannot be trained on.
    """
    data = os.fspath(data)
    if data.partition(":")[0] == "toy":
        if spacing:
            raise UserError("--spacing: drawn volumes have no millimetres; leave it out")
        return _toy(data)
    folder = Path(data)
    pairs, classes = volume_files.found(folder), volume_files.label_names(folder)
    volumes = tuple(_volume(name, files, classes, spacing) for name, files in pairs.items())
    return Volumes(folder.resolve().name, volumes, classes or _numbered(folder, volumes), _notes(volumes))


def split(volumes: Volumes) -> tuple[Volumes, Volumes]:
    """(train, test): every fifth by name tests, if it has labels; the others train. Raises UserError where a side stays
    empty."""
    names = {one.name for one in volumes.volumes}
    chosen = splits.every_nth(names)
    train, test = volumes.only(names - chosen), volumes.only(chosen).labelled()
    if not len(train) or not len(test):
        raise UserError(
            f"{volumes.name}: {len(volumes)} volumes leave {len(train)} to train and {len(test)} with labels to test; "
            "every fifth by name tests, so give 5 or more, with labels"
        )
    return train, test


def subset(train: Volumes, count: int, seed: int) -> Volumes:
    """`count` of the labelled volumes, drawn by `seed`; fewer are a subset of more. Raises UserError if there are not
    so many."""
    names = [one.name for one in train.labelled().volumes]
    if count > len(names):
        raise UserError(f"--volumes {count}: only {len(names)} training volumes have labels; give at most {len(names)}")
    return train.only(splits.drawn(names, seed)[:count])


def normalised(image: np.ndarray) -> np.ndarray:
    """The image as float32 in 0..1: its percentiles of `CLIPPED` and 100 - `CLIPPED` become 0 and 1."""
    low, high = np.percentile(image, (CLIPPED, 100 - CLIPPED))
    if high <= low:
        # So many voxels are equal that the percentiles are, too.
        low, high = image.min(), image.max()
    return np.clip((image.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def _toy(data):
    count = data.partition(":")[2] or str(TOY_COUNT)
    if not count.isdecimal() or not int(count):
        raise UserError(f"--data {data}: {count!r} is not a number of volumes; give toy, or toy:{TOY_COUNT}")
    drawn = [toy_volume(index) for index in range(int(count))]
    volumes = tuple(Volume(f"{index:04d}", normalised(image), labels) for index, (image, labels) in enumerate(drawn))
    return Volumes("toy", volumes, CLASSES)


def _numbered(folder, volumes):
    most = max(int(one.labels.max()) for one in volumes if one.labels is not None)
    if not most:
        raise UserError(f"{folder}: no label volume has a label above 0, so there is nothing to find; give others")
    return "background", *(f"label {number}" for number in range(1, most + 1))


def _volume(name, files, classes, spacing) -> Volume:
    image, labels, sides = volume_files.read(*files, classes)
    image = normalised(image)
    if spacing:
        if sides is None:
            raise UserError(f"--spacing: {files[0]} does not say how large its voxels are; leave it out")
        factors = np.array(sides) / spacing
        image = np.clip(_zoomed(image, factors, order=1), 0, 1)
        labels = None if labels is None else _zoomed(labels, factors, order=0)
        sides = tuple(map(float, spacing))
    return Volume(name, image, labels, sides)


def _zoomed(array, factors, order):
    return ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True)


def _notes(volumes) -> tuple[str, ...]:
    """That voxels have other sizes in some volumes."""
    sides = np.array([one.spacing for one in volumes if one.spacing is not None])
    if not len(sides) or (sides.max(axis=0) <= SAME_SPACING * sides.min(axis=0)).all():
        return ()
    usual = np.median(sides, axis=0)
    odd = [one.name for one in volumes if np.ptp(np.log([one.spacing, usual]), axis=0).max() > np.log(SAME_SPACING)]
    low, high, usual = (" x ".join(f"{side:.3g}" for side in one) for one in (sides.min(0), sides.max(0), usual))
    return (
        f"voxels measure from {low} to {high} mm, and the network does not see it: {some(odd)} differ from most; "
        f"--spacing {usual.replace(' x ', ' ')} resamples all to one size",
    )

"""Files of volumes: found in a folder, paired with their labels by name, read and checked."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerastransfer.data import nifti
from kerastransfer.errors import UserError

# The largest label that fits in a byte, beside the one that stands for void elsewhere in the package.
MOST_LABELS = 254
LAYOUTS = "imagesTr/NAME.nii.gz with labelsTr/NAME.nii.gz, or images/NAME.npy with labels/NAME.npy"


def found(folder: Path) -> dict[str, tuple[Path, Path | None]]:
    """{name: (image, labels or None)}, in order. Raises UserError if there is no image or not a single label volume,
    or labels without an image."""
    if (folder / "imagesTr").is_dir():
        return _pairs(folder, "imagesTr", "labelsTr", nifti.SUFFIXES)
    if (folder / "images").is_dir():
        return _pairs(folder, "images", "labels", (".npy",))
    missing = "has neither imagesTr/ nor images/" if folder.is_dir() else "is not a folder"
    raise UserError(f"--data {folder} {missing}; volumes need {LAYOUTS}, or toy")


def read(
    image_path: Path, labels_path: Path | None, classes: tuple[str, ...] | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float, float] | None]:
    """Image (D, H, W) of real numbers, labels (D, H, W) uint8 or None, and the sides of a voxel in millimetres or None.

    classes: the names of the labels, if they are known. Raises UserError, in a line that names the file.
    """
    image, placed = _read(image_path)
    _check_image(image_path, image)
    sides = None if placed is None else nifti.spacing(placed)
    if labels_path is None:
        return image, None, sides
    labels, theirs = _read(labels_path)
    if labels.shape != image.shape:
        ours, wanted = (" x ".join(map(str, one.shape)) for one in (labels, image))
        raise UserError(f"{labels_path} has {ours} voxels, but its image {wanted}; give labels of the image's size")
    if placed is not None:
        nifti.check_place(labels_path, placed, theirs, image.shape)
    return image, _checked_labels(labels_path, labels, classes), sides


def _pairs(folder: Path, images: str, labels: str, suffixes: tuple[str, ...]) -> dict[str, tuple[Path, Path | None]]:
    """{name: (image, labels or None)}, in order. Raises UserError."""
    images_by, truths = (_files(folder / part, suffixes) for part in (images, labels))
    if not images_by:
        raise UserError(f"{folder / images} holds no {' or '.join(suffixes)} file; volumes need {LAYOUTS}")
    if alone := sorted(truths.keys() - images_by.keys()):
        raise UserError(f"{truths[alone[0]]} has no image in {images}/; add it, or take the label file out")
    if not truths:
        raise UserError(f"{folder} has no label volumes; put at least 5 in {labels}/, by the names of their images")
    return {name: (images_by[name], truths.get(name)) for name in sorted(images_by)}


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """{name without suffix: path} of the visible files: archives made on a Mac are full of hidden ones."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("[!.]*")):
        suffix = next((suffix for suffix in suffixes if path.name.endswith(suffix)), None)
        if suffix is None:
            continue
        other = found.setdefault(path.name.removesuffix(suffix), path)
        if other != path:
            raise UserError(f"{other} and {path.name} have one name; keep one of them")
    return found


def label_names(folder: Path) -> tuple[str, ...] | None:
    """The names of the labels in dataset.json, or None if there is no such file. Raises UserError for a damaged one."""
    path = folder / "dataset.json"
    if not path.exists():
        return None
    try:
        labels: Mapping[str, str] = json.loads(path.read_text(encoding="utf-8"))["labels"]
        # Newer files have {"background": 0, ...} in place of {"0": "background", ...}.
        named = (
            {int(key): str(value) for key, value in labels.items()}
            if "0" in labels
            else {int(value): str(key) for key, value in labels.items()}
        )
        return tuple(named[number] for number in range(len(named)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path} cannot be read ({error!r}); it needs "labels", such as {{"0": "background", "1": "organ"}}; '
            "repair it, or take it out"
        ) from error


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The array in a file, and where its voxels are, (4, 4), if the file says so. Raises UserError."""
    if path.suffix != ".npy":
        return nifti.read(path)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}); write it again with numpy.save") from error
    return array, None


def _check_image(path, image):
    if image.ndim != 3:
        raise UserError(f"{path} has {image.ndim} axes, {image.shape}; give volumes of 3, with one channel")
    if image.dtype.kind not in "biuf":
        raise UserError(f"{path} holds numbers of type {image.dtype}; give real numbers")
    bad = image.size - int(np.isfinite(image).sum())
    if bad:
        raise UserError(f"{path}: {bad} of {image.size} voxels are NaN or infinite; repair or remove the volume")
    if image.min() == image.max():
        raise UserError(f"{path}: all voxels are {image.min():g}; take the volume out")


def _checked_labels(path, labels, classes):
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all():
        raise UserError(f"{path} holds labels that are NaN or no numbers; give whole numbers from 0")
    whole = np.rint(labels)
    if (np.abs(labels - whole) > 1e-3).any():
        odd = labels[np.abs(labels - whole) > 1e-3][0]
        raise UserError(f"{path} holds the label {odd:g}; give whole numbers (a label volume is never interpolated)")
    most = MOST_LABELS if classes is None else len(classes) - 1
    if whole.min() < 0 or whole.max() > most:
        known = f"{'possible are' if classes is None else 'dataset.json names'} 0 to {most}"
        held = f"{whole.min():g} to {whole.max():g}"
        raise UserError(f"{path} holds labels from {held}, but {known}; correct the file or dataset.json")
    return whole.astype(np.uint8)

"""Examples decoded once, at one size, in memory or in memory-mapped files."""

import contextlib
import dataclasses
import difflib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import FIELDS, Dataset, Sample, taught
from kerastransfer.data.fields import ROWS, Row
from kerastransfer.data.letterbox import Placement, placement
from kerastransfer.data.mask_crops import CROP, Ragged, crop
from kerastransfer.errors import UserError

REMEDY = "use --cache memory"


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Arrays with a row per sample: image (N, H, W, 3) uint8; and, as asked for, boxes (N, M, 4) float32 with labels
    (N, M) int32 (M: the most that any sample has; zeros and -1 pad; crowds and difficult objects are left out), masks
    (N, M, CROP, CROP) uint8 with frames (N, M, 4) float32 (what each crop spans; zeros pad, and stand where an object
    has no mask; see mask_crops.py), segmentation (N, H, W) uint8, label (N,) int32.

    dropped: objects that `decode` left out because their image has more than its `most`.
    """

    names: tuple[str, ...]
    arrays: dict[str, np.ndarray | Ragged]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.names)


def decode(
    dataset: Dataset,
    fields: Sequence[str],
    size: tuple[int, int],
    *,
    folder: Path | None = None,
    threads: int = 4,
    most: int | None = None,
    resize: str = "stretch",
    remedy: str = REMEDY,
) -> Decoded:
    """Read every sample that has all of `fields`, in order, with images and maps at `size` (height, width). With
    "masks" come boxes and labels too.

    resize: "stretch" or "letterbox": then boxes and frames are fractions of the letterboxed picture, and the map is
        void around the image.
    folder: keep images, maps and masks in memory-mapped files there, for data larger than memory; it must be empty.
    remedy: what to do if the disk is full, at the end of the message.
    most: of an image with more objects only so many, the largest; `Decoded.dropped` says how many were left out.
    Raises UserError for an unknown field or another kind of size, and where no sample has all of the fields;
    BadSampleError as `Sample.read` does, which it does not for samples that `datasets.load` has checked.
    """
    _check(fields, size)
    samples = dataset.having(*fields).samples
    if not samples:
        there = ", ".join(field for field in FIELDS if dataset.having(field).samples) or "none"
        raise UserError(f"{dataset.name}: no image has {' and '.join(fields) or 'been given'}; annotated are {there}")
    boxed, masked = not {"boxes", "masks"}.isdisjoint(fields), "masks" in fields
    rows = {name: row for name, row in ROWS.items() if boxed and (masked or name != "frames")}
    shapes = {"image": (len(samples), *size, 3)}
    if "segmentation" in fields:
        shapes["segmentation"] = (len(samples), *size)
    arrays = {
        name: allocate(folder / f"{name}.npy", shape, "uint8", remedy) if folder else np.empty(shape, "uint8")
        for name, shape in shapes.items()
    }

    def read(index_and_sample: tuple[int, Sample]) -> dict[str, np.ndarray]:
        index, sample = index_and_sample
        example = sample.read()
        placed = placement(example["image"].shape[:2], size, resize)
        arrays["image"][index] = placed.image(example["image"])
        if "segmentation" in fields:
            arrays["segmentation"][index] = placed.segmentation(example["segmentation"])
        small = {"label": example["label"]} if "label" in fields else {}
        if boxed:
            small |= _objects(example, placed, masked, most)
        return small

    with ThreadPoolExecutor(threads) as pool:
        small = pool.map(read, enumerate(samples))
        if masked:
            small, crops = _without_masks(small, folder / "masks.uint8" if folder else None)
        small = list(small)
    arrays |= {name: _padded([example[name] for example in small], row) for name, row in rows.items()}
    if masked:
        starts = np.cumsum([0, *(len(example["boxes"]) for example in small)])
        arrays["masks"] = Ragged(crops, starts, arrays["boxes"].shape[1])
    if "label" in fields:
        arrays["label"] = np.array([example["label"] for example in small], "int32")
    return Decoded(
        tuple(sample.name for sample in samples), arrays, sum(example.get("dropped", 0) for example in small)
    )


def _check(fields: Sequence[str], size: tuple[int, int]) -> None:
    known = ", ".join(FIELDS)
    if isinstance(fields, str):
        raise UserError(f"fields {fields!r}: give a sequence of names, as in [{fields!r}]; fields are {known}")
    for field in fields:
        if field not in FIELDS:
            near = difflib.get_close_matches(str(field), FIELDS, 1)
            hint = f"did you mean {near[0]!r}? Fields are {known}" if near else f"fields are {known}"
            raise UserError(f"unknown field {field!r}; {hint}")
    sides = size if isinstance(size, Sequence) else ()
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and side > 0 for side in sides):
        raise UserError(f"size {size!r}: give (height, width) in whole pixels")


def allocate(path: Path, shape: tuple[int, ...], dtype: str, remedy: str) -> np.ndarray:
    """A memory-mapped array in a new .npy file whose room on the disk is reserved: where it is not, a full disk ends
    the process with a signal. Raises UserError, which ends in `remedy`, when there is no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise UserError(
                f"{path}: no room for {array.nbytes / 1e6:.0f} MB ({error.strerror}); free some space or {remedy}"
            ) from None
    return array


def _objects(example, placed: Placement, masked, most):
    """Boxes and labels of the objects that are trained on, and with `masked` their masks; how many were dropped."""
    kept = np.flatnonzero(taught(example))
    areas = np.prod(example["boxes"][kept, 2:] - example["boxes"][kept, :2], axis=1)
    largest = kept[np.sort(np.argsort(-areas, kind="stable")[:most])]
    out = {name: example[name][largest] for name in ROWS if name in example}
    out["boxes"] = placed.to_picture(out["boxes"])
    if masked:
        crops = [crop(example["masks"][index], example["boxes"][index]) for index in largest]
        out["masks"] = np.array([pixels for pixels, _ in crops], "uint8").reshape(-1, CROP, CROP)
        frames = np.array([frame for _, frame in crops], "float32").reshape(-1, 4)
        out["frames"] = np.where(frames.any(axis=1, keepdims=True), placed.to_picture(frames), 0)
    return {**out, "dropped": len(kept) - len(largest)}


def _without_masks(examples, path):
    """The examples, in order, without their masks; and all masks (T, CROP, CROP) one after the other, in a file
    to which they go as they come where there is a `path`. Raises UserError when there is no room."""
    small, crops = [], [np.zeros((0, CROP, CROP), "uint8")]
    try:
        with path.open("wb") if path else contextlib.nullcontext() as file:
            for example in examples:
                masks = example.pop("masks")
                small.append(example)
                if file:
                    file.write(masks.tobytes())
                else:
                    crops.append(masks)
    except OSError as error:
        raise UserError(f"{path}: no room for more masks ({error.strerror}); free some space or {REMEDY}") from None
    if path and path.stat().st_size:
        return small, np.memmap(path, "uint8", "r").reshape(-1, CROP, CROP)
    return small, np.concatenate(crops)


def _padded(values: Sequence[np.ndarray], row: Row) -> np.ndarray:
    """One array of all images' values, each padded to the longest, but at least one row."""
    most = max([1, *map(len, values)])
    padded = np.full((len(values), most, *row.shape), row.padding, row.dtype)
    for into, own in zip(padded, values, strict=True):
        into[: len(own)] = own
    return padded

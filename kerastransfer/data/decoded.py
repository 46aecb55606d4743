"""Examples at one size: decoded once, in memory or in memory-mapped files, or whenever they are asked for."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kerastransfer.data.dataset import FIELDS, BadSampleError, Dataset, Sample, require_known
from kerastransfer.data.fields import ROWS, Row
from kerastransfer.data.mask_crops import CROP, Ragged
from kerastransfer.data.on_demand import Column, OnDemand
from kerastransfer.data.seen import Seen
from kerastransfer.data.stored import Stored
from kerastransfer.errors import UserError

REMEDY = "use --cache memory"


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Arrays with a row per sample: image (N, H, W, 3) uint8; and, as asked for, boxes (N, M, 4) float32 with labels
    (N, M) int32 (M: the most that any sample has; zeros and -1 pad; crowds and difficult objects are left out), masks
    (N, M, CROP, CROP) uint8 with frames (N, M, 4) float32 (what each crop spans; zeros pad, and stand where an object
    has no mask; see mask_crops.py), segmentation (N, H, W) uint8, label (N,) int32. Columns are decoded on demand.

    dropped: objects that `decode` left out because their image has more than its `most`.
    """

    names: tuple[str, ...]
    arrays: dict[str, np.ndarray | Ragged | Column]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def on_demand(self) -> bool:
        """Whether images are decoded on demand."""
        return isinstance(self.arrays.get("image"), Column)

    @property
    def trouble(self) -> str | None:
        """Why no image can be decoded on demand any more."""
        return self.arrays["image"].source.trouble if self.on_demand else None


def decode(
    dataset: Dataset,
    fields: Sequence[str],
    size: tuple[int, int],
    *,
    folder: Path | None = None,
    on_demand: bool = False,
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
    on_demand: keep only boxes and labels, and decode images, maps and masks whenever they are asked for.
    remedy: what to do if the disk is full, at the end of the message.
    most: of an image with more objects only so many, the largest; `Decoded.dropped` says how many were left out.
    Images that the check decoded (`Dataset.seen`) are taken from there, and those that are left are forgotten.
    Raises UserError for an unknown field or another kind of size, and where no sample has all of the fields;
    BadSampleError as `Sample.read` does, which it does not for samples that `datasets.load` has checked.
    """
    _check(fields, size)
    samples = dataset.having(*fields).samples
    if not samples:
        there = ", ".join(field for field in FIELDS if dataset.having(field).samples) or "none"
        raise UserError(f"{dataset.name}: no image has {' and '.join(fields) or 'been given'}; annotated are {there}")
    stored = Stored(tuple(fields), (int(size[0]), int(size[1])), resize, most)
    if on_demand:
        arrays, dropped = _on_demand(samples, stored)
    else:
        arrays, dropped = _once(samples, stored, folder, threads, remedy, dataset.seen)
    if dataset.seen:
        dataset.seen.forget()
    return Decoded(tuple(sample.name for sample in samples), arrays, dropped)


def _once(samples, stored, folder, threads, remedy, seen: Seen | None):
    """All arrays, and how many objects were dropped."""
    rows = {name: row for name, row in ROWS.items() if stored.boxed and (stored.masked or name != "frames")}
    shapes = {"image": (len(samples), *stored.size, 3)}
    if "segmentation" in stored.fields:
        shapes["segmentation"] = (len(samples), *stored.size)
    arrays = {
        name: allocate(folder / f"{name}.npy", shape, "uint8", remedy) if folder else np.empty(shape, "uint8")
        for name, shape in shapes.items()
    }

    def read(index_and_sample: tuple[int, Sample]) -> dict[str, np.ndarray]:
        index, sample = index_and_sample
        image = seen.take(sample.name, stored.size, stored.resize) if seen else None
        example = stored.whole(sample, image)
        for name in shapes:
            arrays[name][index] = example.pop(name)
        return example

    with ThreadPoolExecutor(threads) as pool:
        small = pool.map(read, enumerate(samples))
        if stored.masked:
            small, crops = _without_masks(small, folder / "masks.uint8" if folder else None)
        small = list(small)
    arrays |= _small_arrays(small, rows, stored)
    if stored.masked:
        starts = np.cumsum([0, *(len(example["boxes"]) for example in small)])
        arrays["masks"] = Ragged(crops, starts, arrays["boxes"].shape[1])
    return arrays, _dropped(small)


def _on_demand(samples, stored):
    """Boxes and labels as arrays, the rest as columns; and how many objects were dropped."""
    nothing = {"dropped": 0, "label": np.int32(0)} | {
        name: np.zeros((0, *row.shape), row.dtype) for name, row in ROWS.items() if name != "frames"
    }

    def small(sample: Sample) -> dict[str, np.ndarray]:
        try:
            return stored.small(sample)
        except BadSampleError:
            # Its place will be taken by another.
            return nothing

    # Threads would make it slower: next to nothing of it is decoding.
    found = [small(sample) for sample in samples]
    rows = {name: row for name, row in ROWS.items() if stored.boxed and name != "frames"}
    arrays = _small_arrays(found, rows, stored)
    counts = [len(example["boxes"]) for example in found] if stored.boxed else []
    source = OnDemand(samples, stored, counts, max([1, *counts]))
    # In the order in which `_once` has them.
    columns = source.columns()
    arrays = {**{name: columns[name] for name in ("image", "segmentation") if name in columns}, **arrays, **columns}
    return arrays, _dropped(found)


def _small_arrays(small, rows, stored):
    arrays = {name: _padded([example[name] for example in small], row) for name, row in rows.items()}
    if "label" in stored.fields:
        arrays["label"] = np.array([example["label"] for example in small], "int32")
    return arrays


def _dropped(small):
    return sum(example.get("dropped", 0) for example in small)


def _check(fields: Sequence[str], size: tuple[int, int]) -> None:
    if isinstance(fields, str):
        known = ", ".join(FIELDS)
        raise UserError(f"fields {fields!r}: give a sequence of names, as in [{fields!r}]; fields are {known}")
    require_known(fields)
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

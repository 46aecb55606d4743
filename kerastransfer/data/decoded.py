"""Examples decoded once, at one size, in memory or in memory-mapped files."""

import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.errors import UserError


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 stretched to size (height, width), bilinear with antialiasing. Training, scoring and exported
    files all come through here, so that they see the same pixels."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_scores(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) numbers stretched to size, bilinear, as float32."""
    picture = Image.fromarray(np.ascontiguousarray(scores, np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_map(segmentation: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) classes stretched to size by the nearest pixel."""
    return np.asarray(Image.fromarray(segmentation).resize((size[1], size[0]), Image.Resampling.NEAREST))


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Arrays with a row per sample: image (N, H, W, 3) uint8; and, as asked for, boxes (N, M, 4) float32 with labels
    (N, M) int32 (M: the most that any sample has; zeros and -1 pad; crowds are left out), segmentation (N, H, W)
    uint8, label (N,) int32."""

    names: tuple[str, ...]
    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.names)


def decode(
    dataset: Dataset, fields: Sequence[str], size: tuple[int, int], *, folder: Path | None = None, threads: int = 4
) -> Decoded:
    """Read every sample that has all of `fields`, in order, with images and maps at `size` (height, width).

    folder: keep images and maps in memory-mapped files there, for data larger than memory; it must be empty.
    Raises BadSampleError as `Sample.read` does: a data set that was checked when it was loaded has none.
    """
    samples = dataset.having(*fields).samples
    shapes = {"image": (len(samples), *size, 3)}
    if "segmentation" in fields:
        shapes["segmentation"] = (len(samples), *size)
    arrays = {
        name: allocate(folder / f"{name}.npy", shape, "uint8", "use --cache memory")
        if folder
        else np.empty(shape, "uint8")
        for name, shape in shapes.items()
    }

    def read(index_and_sample: tuple[int, Sample]) -> dict[str, np.ndarray]:
        index, sample = index_and_sample
        example = sample.read()
        arrays["image"][index] = resize_image(example["image"], size)
        if "segmentation" in fields:
            arrays["segmentation"][index] = resize_map(example["segmentation"], size)
        return {name: example[name] for name in ("boxes", "labels", "crowd", "label") if name in example}

    with ThreadPoolExecutor(threads) as pool:
        small = list(pool.map(read, enumerate(samples)))
    if "boxes" in fields:
        arrays |= _padded(small)
    if "label" in fields:
        arrays["label"] = np.array([example["label"] for example in small], "int32")
    return Decoded(tuple(sample.name for sample in samples), arrays)


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


def _padded(examples):
    kept = [~example.get("crowd", np.zeros(len(example["labels"]), bool)) for example in examples]
    most = max([1, *(int(keep.sum()) for keep in kept)])
    boxes = np.zeros((len(examples), most, 4), "float32")
    labels = np.full((len(examples), most), -1, "int32")
    for row, (example, keep) in enumerate(zip(examples, kept, strict=True)):
        count = int(keep.sum())
        boxes[row, :count], labels[row, :count] = example["boxes"][keep], example["labels"][keep]
    return {"boxes": boxes, "labels": labels}

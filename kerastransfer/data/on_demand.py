"""Rows of samples that are decoded when a batch asks for them, and not kept.

A file may have changed since the data set was checked. A sample that can no longer be read is named once, and in every
batch the next sample in order that can be read stands in its place: which one is a function of the files alone, so a
run that is resumed sees the same batches.
"""

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerastransfer.data.dataset import BadSampleError, Sample
from kerastransfer.data.fields import ROWS
from kerastransfer.data.mask_crops import CROP
from kerastransfer.data.stored import Stored
from kerastransfer.errors import UserError

# So many damaged samples are named: a disk that has gone takes thousands with it.
NAMED = 20


@dataclasses.dataclass(eq=False)
class OnDemand:
    """Decodes samples as they are stored. It may be used by several threads.

    objects: of each sample, where objects are stored. most: the rows that objects are padded to.
    trouble: why no sample can be read any more, which ends a training.
    """

    samples: Sequence[Sample]
    stored: Stored
    objects: Sequence[int]
    most: int
    trouble: str | None = None
    _bad: set[int] = dataclasses.field(default_factory=set)

    def columns(self) -> "dict[str, Column]":
        """What is decoded on demand, by name: arrays with a row per sample."""
        count, (height, width) = len(self.samples), self.stored.size
        out = {"image": Column(self, "image", (count, height, width, 3), np.dtype("uint8"))}
        if "segmentation" in self.stored.fields:
            out["segmentation"] = Column(self, "segmentation", (count, height, width), np.dtype("uint8"))
        if self.stored.masked:
            out["frames"] = Column(self, "frames", (count, self.most, 4), np.dtype("float32"))
            out["masks"] = Column(self, "masks", (count, self.most, CROP, CROP), np.dtype("uint8"))
        return out

    def read(self, rows: Iterable[int], names: Iterable[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The rows (B,) of the columns of these names, and the numbers (B,) of the samples that they are of. Raises
        UserError where no sample can be read."""
        found, taken = [], []
        for row in rows:
            example, row = self._readable(int(row))
            found.append(example)
            taken.append(row)
        return {name: np.stack([self._padded(example, name) for example in found]) for name in names}, np.array(taken)

    def _readable(self, row):
        """The sample of this number, or the next that can be read."""
        for number in range(row, row + len(self.samples)):
            number %= len(self.samples)
            try:
                return self._sample(number), number
            except BadSampleError as error:
                reason = str(error)
                if number not in self._bad:
                    self._bad.add(number)
                    self._warn(self.samples[number].name, reason)
        self.trouble = f"no training image can be read any more ({reason}); put the data back, then use --resume"
        raise UserError(self.trouble)

    def _warn(self, name, reason):
        if len(self._bad) <= NAMED:
            further = "; further ones are not named" if len(self._bad) == NAMED else ""
            print(f"warning: {name}: {reason}; the next image takes its place{further}", file=sys.stderr, flush=True)

    def _sample(self, number):
        example = self.stored.whole(self.samples[number])
        if self.stored.boxed and len(example["boxes"]) != self.objects[number]:
            raise BadSampleError(f"{len(example['boxes'])} objects, but there were {self.objects[number]}")
        return example

    def _padded(self, example, name):
        if name not in ("frames", "masks"):
            return example[name]
        padded = np.full((self.most, *example[name].shape[1:]), ROWS[name].padding if name in ROWS else 0)
        padded = padded.astype(example[name].dtype)
        padded[: len(example[name])] = example[name]
        return padded


@dataclasses.dataclass(frozen=True)
class Column:
    """One name of what an `OnDemand` decodes, read as an array (N, ...)."""

    source: OnDemand
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """Row numbers (B,), or a slice, to (B, ...)."""
        return self.source.read(np.arange(len(self))[rows], [self.name])[0][self.name]


def take(arrays: Mapping[str, Any], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The rows (B,) of every array. A sample is decoded once for all of its columns, and where another takes its place
    it does so in all arrays."""
    late = [name for name, array in arrays.items() if isinstance(array, Column)]
    decoded = {}
    if late:
        decoded, rows = arrays[late[0]].source.read(rows, late)
    return {name: decoded[name] if name in decoded else arrays[name][rows] for name in arrays}

"""Arrays that need not fit into memory."""

import tempfile
from collections.abc import Sequence

import numpy as np

# So many values are handled at a time.
BLOCK = 1 << 22


def zeros(*shape: int) -> np.ndarray:
    """Zeros of a shape, float32; of more than `BLOCK` values in a temporary file, which goes with the array."""
    if np.prod(shape, dtype=np.int64) <= BLOCK:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def blocks(values: np.ndarray) -> Sequence[slice]:
    """Slices of rows that have at most `BLOCK` values each."""
    rows = max(1, BLOCK // max(1, int(np.prod(values.shape[1:]))))
    return [slice(start, start + rows) for start in range(0, len(values), rows)]

"""The arrays of a batch that have a row per object: padded, because images have different numbers of objects."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """One object's values: their type and shape, and what stands where there is no object."""

    dtype: str
    shape: tuple[int, ...]
    padding: int


# An attribute of objects that every example with boxes has (see `dataset.Sample`) needs a row here to reach the
# batches, and no more. A frame is what a mask's crop spans (mask_crops.py).
ROWS = {
    "boxes": Row("float32", (4,), 0),
    "labels": Row("int32", (), -1),
    "frames": Row("float32", (4,), 0),
}
# Crops of masks are many times larger than the rest, so `decoded` keeps them without padding and pads them in a batch.
PADDING = {name: row.padding for name, row in ROWS.items()} | {"masks": 0}

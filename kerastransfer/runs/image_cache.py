"""Where the decoded images of a training are kept: the choice behind --cache."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from kerastransfer.data.dataset import BadSampleError, Dataset, taught
from kerastransfer.data.mask_crops import CROP
from kerastransfer.errors import UserError

# Share of the memory that is free which `auto` fills with images: training needs the rest.
SHARE_OF_MEMORY = 0.5
# The same of the disk, which checkpoints and exported files need.
SHARE_OF_DISK = 0.8
# Samples whose objects are counted, to tell how much room masks take.
COUNTED = 100
# Of versions 2 and 1: the limit, what is used, and of what.
CGROUPS = (
    tuple(f"/sys/fs/cgroup/memory.{name}" for name in ("max", "current", "stat")),
    tuple(f"/sys/fs/cgroup/memory/memory.{name}" for name in ("limit_in_bytes", "usage_in_bytes", "stat")),
)


def needed(dataset: Dataset, fields: Sequence[str], size: int) -> int:
    """Bytes of the samples that have `fields`, decoded at size x size pixels; those of masks are estimated."""
    samples = dataset.having(*fields)
    each = size * size * (4 if "segmentation" in fields else 3)
    if "masks" in fields and len(samples):
        counts = list(_objects(samples.spread(COUNTED)))
        each += round(sum(counts) / max(1, len(counts)) * CROP * CROP)
    return len(samples) * each


def _objects(dataset: Dataset) -> Iterable[int]:
    for sample in dataset.samples:
        try:
            yield int(taught(sample.annotations("boxes")).sum())
        except BadSampleError:
            continue


def chosen(cache: str, needed: int, folder: Path, *, kept: bool = False) -> tuple[str, str | None]:
    """("memory", "disk" or "none", a line that says why, or None) for --cache and so many bytes.

    folder: on the disk in question. kept: "auto" does not give "none". Raises UserError for "memory" where there is
        less than that.
    """
    memory = free_memory()
    if cache == "memory" and memory is not None and needed > memory:
        raise UserError(
            f"--cache memory needs {_size(needed)} for decoded images, but {_size(memory)} of memory are free; use "
            "--cache auto, disk or none"
        )
    if cache != "auto":
        return cache, None
    if memory is None or needed <= SHARE_OF_MEMORY * memory:
        return "memory", None
    room = free_disk(folder)
    why = f"decoded images take {_size(needed)}, and {_size(memory)} of memory are free"
    if kept or needed <= SHARE_OF_DISK * room:
        return "disk", f"{why}; they are kept on the disk (--cache disk)"
    return "none", f"{why}, {_size(room)} of the disk; they are decoded while training (--cache none)"


def free_memory() -> int | None:
    """Bytes that can be taken without swapping, within the limit of a container; None where the system does not say."""
    free = _available()
    for limit, used, parts in CGROUPS:
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text()) + _files(Path(parts))
        except (OSError, ValueError):
            # No such group, or "max", which is no limit.
            continue
        free = max(0, left) if free is None else max(0, min(free, left))
    return free


def _files(parts: Path) -> int:
    """Bytes of a container's memory that hold the content of files, as those that were read to check the data: the
    system gives them to whoever asks."""
    try:
        values = dict(line.split() for line in parts.read_text().splitlines())
        # Version 1 counts what is below the group under the longer names.
        kinds = ("active_file", "inactive_file")
        return sum(int(values.get(f"total_{kind}", values.get(kind, 0))) for kind in kinds)
    except (OSError, ValueError):
        return 0


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None


def free_disk(folder: Path) -> int:
    """Bytes that are free where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"

"""Where the decoded images of a training are kept: the choice behind --cache."""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerastransfer.data.dataset import BadSampleError, Dataset, taught
from kerastransfer.data.mask_crops import CROP
from kerastransfer.data.seen import Seen
from kerastransfer.errors import UserError
from kerastransfer.runs.fit_settings import TrainingConfig
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import CommonConfig
from kerastransfer.vocabulary import LARGER

if TYPE_CHECKING:
    from kerastransfer.data.decoded import Decoded

# Largest number of objects in an image that are trained on.
MOST_OBJECTS = 400
# Share of the memory that is free which `auto` fills with images: training needs the rest.
SHARE_OF_MEMORY = 0.5
# The same for images that the check decodes, which are copied into what `auto` fills.
SHARE_OF_CHECK = 0.25
# The same of the disk, which checkpoints and exported files need.
SHARE_OF_DISK = 0.8
# Samples whose objects are counted, to tell how much room masks take.
COUNTED = 100
# Of versions 2 and 1: the limit, what is used, and of what.
CGROUPS = (
    tuple(f"/sys/fs/cgroup/memory.{name}" for name in ("max", "current", "stat")),
    tuple(f"/sys/fs/cgroup/memory/memory.{name}" for name in ("limit_in_bytes", "usage_in_bytes", "stat")),
)


def side(image_size: int) -> int:
    """Side in pixels at which images are kept that are cropped to image_size."""
    return round(image_size * LARGER)


def seen(config: CommonConfig) -> Seen | None:
    """What keeps the images that the check of the data decodes, where a training would decode them again."""
    if not isinstance(config, TrainingConfig) or config.cache == "none":
        return None
    size = side(config.image_size)
    return Seen((size, size), config.resize, round(SHARE_OF_CHECK * (free_memory() or 0)))


def decode(
    train: Dataset,
    fields: tuple[str, ...],
    config: TrainingConfig,
    run: RunFolder,
    phase: str,
    size: int,
    *,
    kept: bool = False,
) -> "Decoded":
    """The samples that have `fields` at size x size pixels, kept in memory or on disk or decoded on demand (--cache).

    kept: `auto` keeps them in any case. Raises UserError for --cache memory where there is too little."""
    from kerastransfer.data import decoded

    # Every worker keeps its own files.
    own = "" if run.leads else f"-{os.getpid()}"
    folder = run.checkpoints / f"{phase}-images{own}"
    room = needed(train, fields, size)
    # What is kept of the check is given back as it is copied.
    held = train.seen.bytes if train.seen else 0
    where, told = chosen(config.cache, room, run.path, kept=kept, held=held)
    if told and run.leads and not config.quiet:
        print(f"{phase}: {told}")
    found = decoded.decode(
        train,
        fields,
        (size, size),
        folder=folder if where == "disk" else None,
        on_demand=where == "none",
        most=MOST_OBJECTS,
        resize=config.resize,
        remedy="use --cache none",
    )
    if found.dropped and run.leads:
        told = f"{found.dropped} objects are left out; only the largest {MOST_OBJECTS} of an image are trained on"
        print(f"warning: {told}", file=sys.stderr)
    return found


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


def chosen(cache: str, needed: int, folder: Path, *, kept: bool = False, held: int = 0) -> tuple[str, str | None]:
    """("memory", "disk" or "none", a line that says why, or None) for --cache and so many bytes.

    folder: on the disk in question. kept: "auto" does not give "none". held: bytes that will be free by then. Raises
        UserError for "memory" where there is less than that.
    """
    memory = free_memory()
    if memory is not None:
        memory += held
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

"""What every layout on disk becomes: a `Dataset` of `Sample`s that are read when they are needed."""

import contextlib
import contextvars
import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer.data import tensors
from kerastransfer.data.seen import Seen
from kerastransfer.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

Example = dict[str, np.ndarray]

# Field of a sample: the arrays that an example has for it, of which those from `area` on may be missing.
FIELDS = {
    "boxes": ("boxes", "labels", "crowd", "difficult", "area", "truncated", "occluded", "hidden"),
    "masks": ("masks",),
    "segmentation": ("segmentation",),
    "label": ("label",),
}


def require_known(fields: Iterable[str]) -> None:
    """Raises UserError for a field that is not in FIELDS, naming the nearest."""
    known = ", ".join(FIELDS)
    for field in fields:
        # A list, which "in" would try to hash, is a likely mistake.
        if not isinstance(field, str) or field not in FIELDS:
            near = difflib.get_close_matches(str(field), FIELDS, 1)
            hint = f"did you mean {near[0]!r}? Fields are {known}" if near else f"fields are {known}"
            raise UserError(f"unknown field {field!r}; {hint}")


class BadSampleError(Exception):
    """One sample cannot be used; the message is the reason. `datasets.load` collects these."""


_listener: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("listener", default=None)


def remark(text: str) -> None:
    """Say what a person should know of the sample that is being read, which is used anyway. `datasets.load`
    collects these by their text, so it names no sample."""
    heard = _listener.get()
    if heard is not None:
        heard.append(text)


@contextlib.contextmanager
def remarks() -> Iterator[list[str]]:
    """The list of what is remarked while the context is open."""
    heard: list[str] = []
    token = _listener.set(heard)
    try:
        yield heard
    finally:
        _listener.reset(token)


@dataclasses.dataclass(frozen=True)
class Sample:
    """One annotated image, not yet decoded.

    name: unique in its data set and the same on every machine (a relative path without suffix): splits, predictions
        and reports go by it.
    read: decodes the files into an example:
        image (H, W, 3) uint8 RGB, always; and, as `fields` promises,
        boxes (N, (y1, x1, y2, x2)) float32 fractions of the image with labels (N,) int32 in [0, K) and
            two flags (N,) bool, neither of which is trained on (`taught`):
            crowd, a region of many objects, as COCO has it: in scoring it absorbs any number of detections;
            difficult, an object that need not be found, as VOC has it: in scoring it is ignored but matched once;
            and, only where the annotations state them,
            truncated (N,) bool, an object of which a part is outside the image;
            occluded (N,) bool, an object of which something else covers a part;
            hidden (N,) float32, 0..1, how much of it other objects cover, as a share of its whole area. The whole
            includes what is outside the image, but that does not count as hidden: what is visible, what is hidden and
            what is outside add up to the whole;
            area (N,) float32 in pixels, where it is stated or there are masks to count it in: COCO's small, medium and
            large objects go by it;
        masks (N, H, W) bool, one for each box, without a pixel where only the box was drawn;
        segmentation (H, W) uint8, VOID where unknown;
        label () int32.
        Raises BadSampleError with the reason when the files are damaged or contradict each other.
    fields: what is annotated for this image, of {"boxes", "masks", "segmentation", "label"}. An image without objects
        has the field with N = 0; an image that nobody annotated lacks the field.
    split: the owner's split ("train", "val", "test") or None.
    owner: (id, file name) of the image in the owner's COCO json, or None; what is written in COCO's form keeps them.
    """

    name: str
    read: Callable[[], Example] = dataclasses.field(repr=False)
    fields: frozenset[str]
    split: str | None = None
    owner: tuple[int | str, str] | None = None

    def example(self, *fields: str) -> Example:
        """The example with its image, and of the annotated fields at least those asked for: others cost nothing where
        `read` can do without (`reading.Reader`). Raises BadSampleError."""
        if hasattr(self.read, "example"):
            return self.read.example(frozenset(fields))
        return self.read()

    def annotations(self, *fields: str) -> dict[str, Any]:
        """The example without its image: `size` (H, W), and of the annotated fields those asked for.

        The image is not decoded where `read` can do without (`reading.Reader`), so this is cheap unless masks or
        segmentation are asked for; `area` is then missing where it is not stated but counted in masks. Raises
        BadSampleError.
        """
        if hasattr(self.read, "annotations"):
            return self.read.annotations(frozenset(fields))
        example = self.read()
        return {"size": example["image"].shape[:2]} | part(example, self.fields.intersection(fields))


def part(example: Example, fields: Iterable[str]) -> Example:
    """The arrays of an example that belong to `fields`."""
    return {name: example[name] for field in fields for name in FIELDS[field] if name in example}


def taught(example: Example) -> np.ndarray:
    """Which objects (N,) bool of an example with boxes are trained on: those that are neither crowd nor difficult."""
    return ~(example["crowd"] | example["difficult"])


@dataclasses.dataclass(frozen=True)
class BadSample:
    """A sample that was left out, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset:
    """Samples in order of their names, and the names of their classes.

    classes: names of `labels`; segmentation_classes: names of the values in `segmentation`, the first is
    "background"; image_classes: names of `label`. An empty tuple where the layout has no such field.
    category_ids: {class: its id in the owner's COCO json}; empty where there is none.
    seen: images that the check decoded, for a training to take.
    bad: samples that were left out. notes: what a person should know of those that were not, a line each.
    """

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...] = ()
    segmentation_classes: tuple[str, ...] = ()
    image_classes: tuple[str, ...] = ()
    bad: tuple[BadSample, ...] = ()
    notes: tuple[str, ...] = ()
    category_ids: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seen: Seen | None = dataclasses.field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __getitem__(self, which: int | slice) -> "Sample | Dataset":
        """A sample, or for a slice a data set of these samples."""
        if isinstance(which, slice):
            return dataclasses.replace(self, samples=self.samples[which])
        return self.samples[which]

    def __repr__(self) -> str:
        there = {field for sample in self.samples for field in sample.fields}
        fields = ", ".join(field for field in FIELDS if field in there)
        classes = len(self.classes or self.image_classes or self.segmentation_classes)
        return f"<Dataset {self.name}: {len(self)} samples{fields and ' with '}{fields}; {classes} classes>"

    def to_tf(self) -> "tf.data.Dataset":
        """The examples, in order, as a tf.data.Dataset of dicts, with the fields that all samples have
        (`tensors.examples`). To batch them, bring them to one shape first; `kerastransfer.batches` trains."""
        return tensors.examples(self.samples)

    def having(self, *fields: str) -> "Dataset":
        """Only the samples that are annotated with all of `fields`."""
        return dataclasses.replace(self, samples=tuple(s for s in self.samples if s.fields.issuperset(fields)))

    def spread(self, most: int) -> "Dataset":
        """At most `most` samples, evenly over the data set: the first by name are often all of one class."""
        every = max(1, -(-len(self) // most))
        return dataclasses.replace(self, samples=self.samples[::every])

    def only(self, names: Iterable[str]) -> "Dataset":
        """Only the samples of these names, in the order of the data set."""
        names = frozenset(names)
        return dataclasses.replace(self, samples=tuple(s for s in self.samples if s.name in names))

"""Some of a data set's classes, and several as one: --classes, --merge, and --map of `kerastransfer evaluate`.

Names mean the classes of boxes, of the segmentation and of images alike. Each of these kinds changes only if it has one
of the chosen names. Classes keep their order; merged ones stand in the place of the first of them.

What is left out is as if nobody had annotated it. An object is removed, and its image stays, without objects if these
were all: it shows what the detector should not find. In a segmentation a left out class becomes background, not void:
its pixels are none of the chosen classes, which is what background says, and a model that never saw them as background
would find the chosen classes there. An image whose own label is left out has no label.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kerastransfer.data.dataset import FIELDS, BadSampleError, Dataset, Example, Sample
from kerastransfer.errors import UserError
from kerastransfer.flags import nearest, some
from kerastransfer.vocabulary import LONGEST_NAME, VOID

LEFT_OUT = -1


def require_name(name: str, where: str) -> None:
    """Raises UserError for the name of a class that tables and pictures could not show. where: it was given."""
    if not name.strip():
        raise UserError(f"{where}: a class name is empty; give the class a name")
    if not name.isprintable():
        raise UserError(f"{where}: the class name {name!r} has a line break or a control character; rename it")
    if len(name) > LONGEST_NAME:
        raise UserError(f"{where}: a class name of {len(name)} letters ({name[:30]}...); {LONGEST_NAME} is the most")


def chosen(dataset: Dataset, classes: Sequence[str] = (), merge: Sequence[str] = ()) -> Dataset:
    """The data set with the merged classes, and of these only `classes`, or all if there are none.

    merge: "NEW=OLD,OLD,...", each. Raises UserError for names that the data does not have, for a class in two merges,
    and if a segmentation or the labels of images would keep a single class, which nothing can be told from.
    """
    for name, given in (("classes", classes), ("merge", merge)):
        if isinstance(given, str):
            raise UserError(f"{name} {given!r}: give a sequence of names, as in [{given!r}]")
    if not classes and not merge:
        return dataset
    return _changed(dataset, _merges(dataset, merge), tuple(classes))


def renamed(dataset: Dataset, pairs: Sequence[str], labels: Sequence[str]) -> Dataset:
    """The data set with names as a model has them. pairs: "NAME=LABEL", each a class of the data and one of the model's
    `labels`. Raises UserError for names that either does not have."""
    names, merges = _names(dataset), {}
    for pair in pairs:
        name, _, label = (part.strip() for part in pair.partition("="))
        if not name or not label:
            raise UserError(f"--map {pair}: give a class of the data and one of the model, as in motorcycle=motorbike")
        if name not in names and name in labels and label in names:
            raise UserError(f"--map {pair}: the data's class comes first; give {label}={name}")
        _require(name, names, f"--map {pair}: the data has no class")
        _require(label, labels, f"--map {pair}: the model has no class")
        if name in merges:
            raise UserError(f"--map names {name} twice; give each class once")
        merges[name] = label
    return _changed(dataset, merges, ()) if merges else dataset


def _merges(dataset: Dataset, merge: Sequence[str]) -> dict[str, str]:
    """{old name: new name}"""
    names, merges = _names(dataset), {}
    for one in merge:
        new, _, old = one.partition("=")
        new, olds = new.strip(), [name.strip() for name in old.split(",") if name.strip()]
        if not new or not olds:
            raise UserError(f"--merge {one}: give a new name and the classes to join, as in person=man,woman")
        require_name(new, "--merge")
        for name in olds:
            _require(name, names, f"--merge {one}: {dataset.name} has no class")
            if merges.get(name, new) != new:
                raise UserError(f"--merge puts {name} into {merges[name]} and into {new}; give each class once")
            merges[name] = new
    return merges


def _changed(dataset: Dataset, merges: dict[str, str], classes: tuple[str, ...]) -> Dataset:
    names = list(dict.fromkeys(merges.get(name, name) for name in _names(dataset)))
    for name in classes:
        if name in merges and name not in names:
            raise UserError(f"--classes {name}: --merge makes it {merges[name]}; choose that")
        _require(name, names, f"--classes {name}: {dataset.name} has no class")
    kinds = {
        "classes": _table(dataset.classes, merges, classes),
        "segmentation_classes": _table(dataset.segmentation_classes, merges, classes, background=True),
        "image_classes": _table(dataset.image_classes, merges, classes),
    }
    _require_two(dataset, kinds["segmentation_classes"], dataset.segmentation_classes, "segmentation")
    labels, images = kinds["image_classes"], dataset.image_classes
    if not dataset.classes and not dataset.segmentation_classes:
        _require_two(dataset, labels, images, "labels of images")
    if len(images) > 1 and len(labels[0]) < 2:
        # Beside boxes or masks, labels that are all the same say nothing.
        kinds["image_classes"] = (), dict.fromkeys(range(len(images)), LEFT_OUT)
    tables = {kind: np.array([of[k] for k in range(len(of))], np.int64) for kind, (_, of) in kinds.items()}
    samples = (_sample(sample, tables) for sample in dataset.samples)
    samples = tuple(sample for sample in samples if sample is not None)
    if not samples:
        raise UserError(f"{dataset.name}: no image has a class of {', '.join(classes)}")
    return dataclasses.replace(dataset, samples=samples, **{kind: names for kind, (names, _) in kinds.items()})


def _table(
    old: tuple[str, ...], merges: dict[str, str], classes: tuple[str, ...], background: bool = False
) -> tuple[tuple[str, ...], dict[int, int]]:
    """New names of a kind of classes, and {old number: new number, or LEFT_OUT; in a segmentation 0}."""
    new = [merges.get(name, name) for name in old]
    kept = dict.fromkeys(new)
    if not set(classes).isdisjoint(kept):
        first = new[:1] if background else []
        kept = dict.fromkeys(name for name in new if name in (*first, *classes))
    number = {name: k for k, name in enumerate(kept)}
    return tuple(kept), {k: number.get(name, 0 if background else LEFT_OUT) for k, name in enumerate(new)}


def _require_two(dataset: Dataset, table: tuple[tuple[str, ...], dict], old: tuple[str, ...], what: str) -> None:
    names, _ = table
    if len(names) == 1 < len(old):
        raise UserError(
            f"{dataset.name}: --classes and --merge leave one class, {names[0]}, of {len(old)} in the {what}; keep "
            "two, because one alone cannot be told from anything"
        )


def _names(dataset: Dataset) -> list[str]:
    """The names of all kinds of classes, each once."""
    return list(dict.fromkeys((*dataset.classes, *dataset.segmentation_classes, *dataset.image_classes)))


def _require(name: str, names: Sequence[str], message: str) -> None:
    if name not in names:
        raise UserError(f"{message} {name}; the nearest is {nearest(name, names)}, all are {some(list(names), 12)}")


def _sample(sample: Sample, tables: dict[str, np.ndarray]) -> Sample | None:
    """The sample with other numbers of classes; None if its label was all that was annotated, and is left out."""
    fields = sample.fields
    table = tables["image_classes"]
    # Only where some label is left out is there a need to read it.
    if "label" in fields and LEFT_OUT in table and _left_out(sample, table):
        fields = fields - {"label"}
    if not fields and sample.fields:
        return None
    return dataclasses.replace(sample, read=_Renumbered(sample, fields, tables), fields=fields)


def _left_out(sample: Sample, table: np.ndarray) -> bool:
    """Whether the label of an image is one that `table` leaves out."""
    try:
        return bool(table[int(sample.annotations("label")["label"])] == LEFT_OUT)
    except BadSampleError:
        # It was damaged since the run that goes on began, which had it, so its label is one of the chosen.
        return False


@dataclasses.dataclass(frozen=True, eq=False)
class _Renumbered:
    """Reads a sample with other numbers of classes. tables: {kind of classes: new number of each old one}."""

    sample: Sample
    fields: frozenset[str]
    tables: dict[str, np.ndarray]

    def __call__(self) -> Example:
        return self._renumbered(self.sample.read())

    def example(self, fields: frozenset[str]) -> Example:
        return self._renumbered(self.sample.example(*self._needed(fields)))

    def _needed(self, fields: frozenset[str]) -> frozenset[str]:
        wanted = fields & self.fields
        # The labels tell which masks stay.
        return wanted | {"boxes"} if "masks" in wanted else wanted

    def annotations(self, fields: frozenset[str]) -> Example:
        wanted, boxed = fields & self.fields, self._needed(fields)
        example = self._renumbered(self.sample.annotations(*boxed))
        return example if boxed == wanted or "boxes" in fields else _without(example, FIELDS["boxes"])

    def _renumbered(self, example: Example) -> Example:
        if "label" in example and "label" not in self.fields:
            example = _without(example, ("label",))
        if "labels" in example:
            labels = self.tables["classes"][example["labels"]]
            kept = labels != LEFT_OUT
            rows = [name for name in (*FIELDS["boxes"], *FIELDS["masks"]) if name in example]
            example = example | {"labels": labels.astype(np.int32)}
            example |= {name: example[name][kept] for name in rows}
        if "segmentation" in example:
            table = np.full(VOID + 1, VOID, np.uint8)
            table[: len(self.tables["segmentation_classes"])] = self.tables["segmentation_classes"]
            example = example | {"segmentation": table[example["segmentation"]]}
        if "label" in example:
            example = example | {"label": self.tables["image_classes"][example["label"]].astype(np.int32)}
        return example


def _without(example: Example, names: Sequence[str]) -> Example:
    return {name: value for name, value in example.items() if name not in names}

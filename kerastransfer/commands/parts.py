"""The data that a subcommand scores or calibrates on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kerastransfer.errors import UserError

if TYPE_CHECKING:
    from kerastransfer.data.dataset import Dataset


def parts(
    data: str,
    format: str,
    split: str,
    field: str,
    *,
    max_bad: float = 0.01,
    map: Sequence[str] = (),
    labels: Sequence[str] = (),
    or_images: bool = False,
    **chosen: Any,
) -> tuple["Dataset", "Dataset"]:
    """(train, test) of the samples annotated with `field`; with `all`, every sample is in both. map: which classes of
    the data have other names among a model's `labels`. or_images: of data that do not tell the field, all images."""
    from kerastransfer.data import choose_classes, derive, splits
    from kerastransfer.data import datasets as data_sets

    dataset = data_sets.load(data, format, max_bad=max_bad, progress=True, **chosen)
    dataset = choose_classes.renamed(dataset, map, labels)
    fields: tuple[str, ...] = (field,)
    try:
        dataset = derive.require(dataset, *fields)
    except UserError:
        if not or_images:
            raise
        fields = ()
    if split == "all":
        return dataset.having(*fields), dataset.having(*fields)
    return splits.split(dataset, split, fields)

"""The data that a subcommand scores or calibrates on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerastransfer.data.dataset import Dataset


def parts(data: str, format: str, split: str, max_bad: float, field: str) -> tuple["Dataset", "Dataset"]:
    """(train, test) of the samples annotated with `field`; with `all`, every sample is in both."""
    from kerastransfer.data import datasets as data_sets
    from kerastransfer.data import derive, splits

    dataset = derive.require(data_sets.load(data, format, max_bad=max_bad, progress=True), field)
    if split == "all":
        return dataset.having(field), dataset.having(field)
    return splits.split(dataset, split, (field,))

"""The data of a run: read, completed, split."""

import dataclasses
import sys

from kerastransfer.data import datasets, derive, splits
from kerastransfer.data.dataset import Dataset
from kerastransfer.runs.settings import CommonConfig


@dataclasses.dataclass(frozen=True)
class Data:
    """What a recipe works on: {field: (training samples, test samples)} that have the field, by one and the same rule,
    so that no phase tests on what another has trained on."""

    dataset: Dataset
    rule: str
    parts: dict[str, tuple[Dataset, Dataset]]


def load_data(config: CommonConfig, *fields: str) -> Data:
    """Read --data, derive what follows from the rest, split, and take --fraction of the training part."""
    dataset = datasets.load(config.data, config.format, max_bad=config.max_bad, progress=not config.quiet)
    if dataset.bad:
        first = f"{dataset.bad[0].name}: {dataset.bad[0].reason}"
        print(f"warning: {len(dataset.bad)} bad samples are left out ({first}); the report names all", file=sys.stderr)
    dataset = derive.require(dataset, *fields)
    rule = splits.resolved(dataset, config.split)
    parts = {}
    for field in fields:
        train, test = splits.split(dataset, rule, (field,))
        parts[field] = (splits.fraction(train, config.fraction, config.seed), test)
    return Data(dataset, rule, parts)

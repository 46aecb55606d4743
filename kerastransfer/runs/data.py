"""The data of a run: read, completed with derived annotations, and split."""

import dataclasses
import sys
from collections.abc import Sequence

from kerastransfer.data import datasets, derive, splits
from kerastransfer.data.dataset import Dataset
from kerastransfer.runs import begun_with, image_cache
from kerastransfer.runs.settings import CommonConfig


@dataclasses.dataclass(frozen=True)
class Data:
    """The data that a recipe works on.

    parts: {field: (training samples, test samples)} of the samples that have the field. All are split by the same
        `rule`, so that no phase tests on images that another one was trained on.
    """

    dataset: Dataset
    rule: str
    parts: dict[str, tuple[Dataset, Dataset]]


def load_data(config: CommonConfig, *fields: str, if_there: Sequence[str] = ()) -> Data:
    """Read --data, derive annotations that follow from others, split, and take --fraction of the training samples.

    if_there: further fields, which `parts` lacks where the data neither have them nor tell them.

    A run that is resumed keeps images that were damaged since it began (see `data.on_demand`). Raises UserError if
    images were added or removed."""
    before = begun_with.names(config)
    dataset = datasets.load(
        config.data,
        config.format,
        max_bad=config.max_bad,
        progress=not config.quiet,
        classes=config.classes,
        merge=config.merge,
        allow_outside=config.allow_outside,
        trusted=before or (),
        seen=image_cache.seen(config),
    )
    begun_with.settle(config, dataset, before, leads=_leads(config))
    if dataset.bad:
        first = f"{dataset.bad[0].name}: {dataset.bad[0].reason}"
        count = "1 bad sample is" if len(dataset.bad) == 1 else f"{len(dataset.bad)} bad samples are"
        print(f"warning: {count} left out ({first}); the report lists all", file=sys.stderr)
    fields = tuple(dict.fromkeys((*fields, *(field for field in if_there if derive.tells(dataset, field)))))
    dataset = derive.require(dataset, *fields)
    rule = splits.resolved(dataset, config.split)
    parts = {}
    for field in fields:
        train, test = splits.split(dataset, rule, (field,))
        parts[field] = (splits.fraction(train, config.fraction, config.seed), test)
    return Data(dataset, rule, parts)


def _leads(config: CommonConfig) -> bool:
    """Whether this is the first of the run's workers, or the only one."""
    if config.strategy in ("none", "mirrored"):
        return True
    from kerastransfer.training import strategy

    return strategy.worker(config.strategy)[0] == 0

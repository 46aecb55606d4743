"""Matches the classes of a data set with those of a model by name."""

from collections.abc import Sequence

import numpy as np

from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.errors import UserError


def matched(
    dataset: Dataset, field: str, classes: Sequence[str], labels: Sequence[str], unknown: int
) -> tuple[tuple[Sample, ...], np.ndarray]:
    """The samples annotated with `field`, and for each of the data's `classes` its index in the model's `labels`, or
    `unknown` if the model does not have it.

    Raises UserError if no sample is annotated, or if no class is in common.
    """
    samples = dataset.having(field).samples
    if not samples:
        raise UserError(f"{dataset.name}: no image is annotated with {field}, which scoring this model needs")
    if (set(classes) - {"background"}).isdisjoint(labels):
        raise UserError(
            f"{dataset.name} has the classes {_listed(classes)}, the model {_listed(labels)}; none in common"
        )
    return samples, np.array([list(labels).index(name) if name in labels else unknown for name in classes])


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

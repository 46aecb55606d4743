"""What scoring a model yields, and what a report needs to draw it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kerastransfer.data.dataset import Sample

# Average precision needs the whole curve, not only the few boxes that a person wants to see.
LOWEST_SCORE = 0.001

Predict = Callable[..., Any]  # as `export.predictor.Predictor.predict`
Progress = Callable[[Sequence[Sample]], Iterable[Sample]]


@dataclasses.dataclass(frozen=True)
class Scored:
    """metrics: a number each, those of a single class called METRIC/CLASS. per_image: {image: the task's `EACH`}, NaN
    where an image has nothing to find; {} for a task without one.

    truth, results: what was true and what was predicted, as JSON holds them (COCO's forms, so that any COCO tool can
    score the run again); results by the ending of the file's name: {"": [...]}. Empty unless they were asked for.
    details: further values for the report.
    """

    metrics: dict[str, float]
    per_image: dict[str, float] = dataclasses.field(default_factory=dict)
    truth: Any = None
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A scored model as `figures` of its task draws it."""

    predict: Predict
    per_image: Mapping[str, float]
    details: Mapping[str, Any]

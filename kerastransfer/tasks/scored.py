"""The scores of a model, and what a report needs to draw it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kerastransfer.data.dataset import Sample

# Average precision needs the whole precision-recall curve, not only the few best boxes.
LOWEST_SCORE = 0.001

# A function like `export.predictor.Predictor.predict`.
Predict = Callable[..., Any]
Progress = Callable[[Sequence[Sample]], Iterable[Sample]]


@dataclasses.dataclass(frozen=True)
class Scored:
    """The scores of a model.

    metrics: {name: value}; the metrics of a single class are called METRIC/CLASS.
    per_image: {image: the task's `EACH`}, NaN for an image without objects; {} for a task without it.
    truth, results: ground truth and predictions as JSON values, in COCO's formats where they apply, so that any COCO
        tool can score the run again. results: {suffix of the file's name: predictions}. Both are empty unless they were
        asked for.
    details: further values for the report.
    """

    metrics: dict[str, float]
    per_image: dict[str, float] = dataclasses.field(default_factory=dict)
    truth: Any = None
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A scored model in the form that `figures` of its task takes."""

    predict: Predict
    per_image: Mapping[str, float]
    details: Mapping[str, Any]

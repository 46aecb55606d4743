"""How much an exported file may differ from the Keras model that it was made from."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

Outputs = Mapping[str, np.ndarray]
Differences = dict[str, dict[str, float]]
Counts = dict[str, int]


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """Limits on the differences; None for no limit.

    maximum, mean: largest and mean absolute difference of any output. metric: largest loss of the task's metric.
    unpaired: largest share of the detections that only one of the two has, as a number rounded up. A file without any
        of the model's detections is always refused.
    """

    maximum: float | None = None
    mean: float | None = None
    metric: float | None = 0.01
    unpaired: float | None = 0.0


TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(maximum=1e-3),
    "float16": Tolerance(maximum=0.05, mean=0.005, unpaired=0.02),
    "int8": Tolerance(mean=0.05, unpaired=0.2),
}


# So many images bring out what the limit of the metric is of.
ENOUGH = 50


def on_images(tolerances: Mapping[str, Tolerance], images: int) -> dict[str, Tolerance]:
    """The tolerances where so many images are scored. Of fewer than ENOUGH a single one moves the metric: its limit
    grows as the metric's standard error does, with the root of their number."""
    factor = max(1.0, ENOUGH / images) ** 0.5
    return {
        kind: limits if limits.metric is None else dataclasses.replace(limits, metric=factor * limits.metric)
        for kind, limits in tolerances.items()
    }


# Share of the detections that a rounding error may change, of models of two stages.
VARYING = 0.02


def where_rows_vary(tolerances: Mapping[str, Tolerance]) -> dict[str, Tolerance]:
    """The tolerances of models of which a rounding error may change a single row (`decoder.rows_vary`): a proposal that
    is nearly as good takes the place of another, or a box near the limit of two levels is pooled from the other one.
    One detection in fifty may be missing, extra, or differ by a half; so the mean is limited in place of the maximum,
    and a hundredth larger."""
    return {
        kind: dataclasses.replace(
            limits,
            maximum=None,
            mean=(limits.maximum if limits.mean is None else limits.mean) + VARYING / 2,
            unpaired=None if limits.unpaired is None else max(limits.unpaired, VARYING),
        )
        for kind, limits in tolerances.items()
    }


def row_by_row(expected: Sequence[Outputs], got: Sequence[Outputs]) -> Differences:
    """{output: {"maximum", "mean"}} of the absolute differences over all images."""
    found = {}
    for name in expected[0]:
        apart = np.stack([np.abs(g[name] - e[name]) for g, e in zip(got, expected, strict=True)])
        found[name] = {"maximum": float(apart.max()), "mean": float(apart.mean())}
    return found

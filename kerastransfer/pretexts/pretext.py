"""What a pretext builds."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Pretext:
    """A training that an encoder goes through before it is transferred.

    network: what is kept: it has the part "encoder", and where the pretext trains one, "decoder".
    trained: the graph over its parts that is trained.
    terms, weights: those of its loss (`training.terms.TermModel`).
    view: as in `runs.fitting.Objective`, or None for the usual one.
    shown: the outputs of `network` that are pictures, for the report, by their names: logits (B, H, W, C).
    """

    network: "keras.Model"
    trained: "keras.Model"
    terms: Callable
    weights: Mapping[str, Any]
    view: Callable | None = None
    shown: tuple[str, ...] = ()

"""Intervals of numbers of a whole test set, from bootstrap resamples of its images."""

from typing import TYPE_CHECKING

import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap

if TYPE_CHECKING:
    from kerastransfer.report.page import Estimate

FEWEST = 20


def require_enough(resamples: int, study: str) -> None:
    """Raises UserError for too few of them."""
    if resamples < FEWEST:
        raise UserError(f"--{study}.resamples is {resamples}; an interval needs {FEWEST} or more")


def estimate(value: float, samples: np.ndarray) -> "Estimate":
    """A number with its interval of 95 %, from its values in resamples (R,)."""
    from kerastransfer.report.page import Estimate

    value, low, high = bootstrap.percentiles(value, samples)
    return Estimate(value, low, high)

"""What a study of two models finds: numbers, tables, figures, and whether the claims of a paper hold."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerastransfer.report.page import Estimate, Table


class LeftOut(Exception):
    """A study cannot be made of this data or these models; the message is the reason. The other studies go on."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim, as a difference that is above zero if the claim is true.

    text: the claim in a sentence. measured: what the difference is of, such as "mIoU of A minus mIoU of B".
    difference: with its interval, if there is one.
    """

    text: str
    measured: str
    difference: "Estimate"

    @property
    def held(self) -> bool | None:
        """True if the whole interval is above zero, False if it is not above zero at all, None if it has both (or if
        there is no interval)."""
        low, high = self.difference.low, self.difference.high
        # NaN where there are too few values for an interval.
        if low is None or high is None or low != low or high != high:
            return None
        return True if low > 0 else False if high <= 0 else None


@dataclasses.dataclass
class Findings:
    """What a study finds.

    title: of its section in the report. text: paragraphs. numbers: {model: {metric: value}}, for metrics.json.
    figures: (file name, `report.page.Figure` without an image, picture), as in `runs.outcome.Outcome`.
    """

    title: str
    text: list[str] = dataclasses.field(default_factory=list)
    numbers: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    tables: "list[Table]" = dataclasses.field(default_factory=list)
    figures: list[tuple] = dataclasses.field(default_factory=list)
    claims: list[Claim] = dataclasses.field(default_factory=list)

"""Figures of a comparison of pretexts: Dice against labelled images, and against training steps."""

from collections.abc import Mapping, Sequence

import numpy as np

from kerastransfer.metrics.bootstrap import spread
from kerastransfer.phases.transfer_summary import Scores, cell
from kerastransfer.report.page import Figure, Table
from kerastransfer.runs.outcome import Outcome

# A validation Dice within this much of its best counts as reached.
NEAR = 0.02


def against_labels(found: Scores, starts: Sequence[str], counts: Sequence[float]) -> Figure:
    """Dice of each start against the number of labelled images."""
    from kerastransfer.report import figures, style

    curves = {}
    for start in starts:
        means, deviations = zip(*(spread(found[start, count]) for count in counts), strict=True)
        curves[start] = (counts, means, np.array(deviations))
    drawn = figures.lines(curves, x="labelled images", y="Dice of a test image", logarithmic=True)
    caption = "Mean over the test images; the bands are standard deviations over seeds, if there are several."
    return Figure("Dice against labelled images", caption, style.png(drawn), chart=True)


def against_steps(
    each: Sequence[Outcome], starts: Sequence[str], count: float, steps: Mapping[str, int]
) -> Figure | None:
    """Validation Dice of each start against the training steps, with `count` labelled images, mean over the seeds; None
    without validation. steps: those of an epoch, by the name of the model."""
    from kerastransfer.report import figures, style

    curves = {}
    for start in starts:
        runs = [_validated(one, cell(start, count)) for one in each]
        length = min(map(len, runs))
        if length:
            values = np.mean([run[:length] for run in runs], axis=0)
            across = steps[cell(start, count)] * (1 + np.arange(length))
            curves[start] = (across, values, None)
    if not curves:
        return None
    drawn = figures.lines(curves, x="training steps", y="Dice of the validation images")
    caption = f"With {count:g} labelled images; the soft Dice that is trained on, on the part held out."
    return Figure("Dice against training steps", caption, style.png(drawn), chart=True)


def speed(each: Sequence[Outcome], starts: Sequence[str], counts: Sequence[float], steps: Mapping[str, int]) -> Table:
    """Steps until the validation Dice is within 0.02 of its best, the mean over the seeds. steps: as above."""
    rows = []
    for start in starts:
        row = []
        for count in counts:
            runs = [_validated(one, cell(start, count)) for one in each]
            near = [int(np.argmax(run >= run.max() - NEAR)) + 1 for run in runs if len(run)]
            row.append(float(np.mean(near)) * steps[cell(start, count)] if near else None)
        rows.append((start, row))
    title = f"Training steps until the validation Dice is within {NEAR} of its best"
    return Table([f"{count:g} labelled" for count in counts], rows, title, "start")


def _validated(outcome, phase) -> np.ndarray:
    rows = [row for row in outcome.run.history() if row["phase"] == phase and row.get("val_dice")]
    return np.array([1 - float(row["val_dice"]) for row in rows])

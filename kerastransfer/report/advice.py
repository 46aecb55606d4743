"""The chart of advice before training: dice against masks."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from kerastransfer.report.style import GREY, INK, colour, styled

# Of the largest subset: as far as the curve is drawn where the wanted dice is not reached.
SHOWN = 8


@styled
def dice_against_masks(
    sizes: np.ndarray,
    dice: np.ndarray,
    masks: np.ndarray,
    fitted: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    target: float,
    needed: float,
) -> Figure:
    """Measured dice (draws, S) at so many masks (S,), and the fitted curve with the ends of its interval, each (M,), at
    masks (M,); the wanted dice, and the masks that it needs (infinity: none)."""
    figure = Figure((6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    middle, low, high = fitted
    axis.fill_between(masks, low, high, color=colour(0), alpha=0.15, linewidth=0, label="95 % interval of the curve")
    axis.plot(masks, middle, color=colour(0), label="power law fitted to them")
    axis.plot(np.tile(sizes, len(dice)), dice.ravel(), ".", color=GREY, markersize=3, label="draws of nested subsets")
    axis.plot(sizes, np.nanmean(dice, axis=0), "o", color=INK, markersize=5, label="their mean")
    axis.axhline(target, color=colour(4), linewidth=1.2, linestyle=(0, (3, 2)))
    axis.annotate(f"wanted: {target:g}", (masks[-1], target), (-3, 3), ha="right", color=colour(4),
                  textcoords="offset points")  # fmt: skip
    if masks[0] <= needed <= masks[-1]:
        axis.plot(needed, target, "D", color=colour(4), markersize=6)
        axis.annotate(f"{needed:.0f} masks", (needed, target), (0, -13), ha="center", color=colour(4),
                      textcoords="offset points")  # fmt: skip
    axis.set(
        xscale="log", xlabel="masks", ylabel="dice of the probe on other photos", xlim=(0.93 * masks[0], masks[-1])
    )
    axis.set_ylim(max(0.0, float(np.nanmin(dice)) - 0.05), 1.0)
    ticks = [one for one in (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if masks[0] <= one <= masks[-1]]
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.legend(loc="lower right", fontsize=8)
    return figure

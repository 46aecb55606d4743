"""Charts as `matplotlib.figure.Figure`, which `style.png` and `style.save` convert to PNG files."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from kerastransfer import lettering
from kerastransfer.report.style import FAINT, GREY, INK, colour, styled

NOT_CURVES = frozenset({"phase", "epoch", "seed", "seconds", "learning_rate"})
# Metrics whose name starts like this are scores; all others are losses, such as "dice".
SCORES = ("ap", "ar", "auc", "iou", "accuracy")
# Largest number of panels in a row.
COLUMNS = 3


@styled
def learning_curves(rows: Iterable[Mapping[str, str]]) -> Figure:
    """Learning curves from the rows of history.csv: "phase", "epoch" and metrics, as text or numbers.

    There is a panel for the losses of each phase and one for its scores (see `SCORES`); missing metrics are skipped.
    `val_NAME` is a dashed line in the colour of NAME. If the rows have a "seed", there is a thin line for each seed.
    """
    phases: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        phases.setdefault(str(row["phase"]), []).append(row)
    panels = [panel for name, of_phase in phases.items() for panel in _curve_panels(name, of_phase)]
    figure, axes = _grid(len(panels), height=2.5)
    for axis, (title, curves) in zip(axes, panels, strict=True):
        _draw_curves(axis, title, curves)
    return figure


def _curve_panels(phase, rows):
    """(title, {metric: [(epochs, values) for each seed]}) for the losses of a phase and for its scores."""
    metrics = dict.fromkeys(key for row in rows for key in row if key not in NOT_CURVES)
    curves = {metric: _curves(rows, metric) for metric in metrics}
    curves = {metric: lines for metric, lines in curves.items() if lines}
    scores = {
        metric: lines for metric, lines in curves.items() if metric.removeprefix("val_").lower().startswith(SCORES)
    }
    losses = {metric: lines for metric, lines in curves.items() if metric not in scores}
    # The total loss comes first.
    losses = dict(sorted(losses.items(), key=lambda item: item[0].removeprefix("val_") != "loss"))
    for kind, chosen in ("loss", losses), ("score", scores):
        if chosen:
            yield f"{phase}: {kind}", chosen


def _curves(rows, metric):
    seeds: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.get(metric) not in (None, "") and np.isfinite(float(row[metric])):
            seeds.setdefault(str(row.get("seed", "")), []).append((float(row["epoch"]), float(row[metric])))
    return [np.array(sorted(points)).T for points in seeds.values()]


def _draw_curves(axis, title, curves):
    families = list(dict.fromkeys(metric.removeprefix("val_") for metric in curves))
    for metric, lines in curves.items():
        for number, (epochs, values) in enumerate(lines):
            axis.plot(
                epochs,
                values,
                color=colour(families.index(metric.removeprefix("val_"))),
                linestyle=(0, (3, 1.5)) if metric.startswith("val_") else "-",
                linewidth=1.8 if len(lines) == 1 else 1.0,
                marker="o" if len(epochs) == 1 else None,
                label=None if number else metric.replace("val_", "validation ").replace("_", " "),
            )
    axis.set(title=title, xlabel="epoch")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    values = np.concatenate([values for lines in curves.values() for _, values in lines])
    if title.endswith("loss") and values.min() > 0 and values.max() > 30 * values.min():
        axis.set_yscale("log")
        # Matplotlib's own labels are formulas.
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    if title.endswith("score"):
        axis.set_ylim(0, 1)
    # With a frame the legend is readable over curves.
    axis.legend(fontsize=8, frameon=True, framealpha=0.8, edgecolor="none")


@styled
def side_by_side(runs: Mapping[str, Sequence[Mapping[str, str]]]) -> Figure | None:
    """The losses of several runs by epoch, {run: rows of its history.csv}: a panel for each phase that two or more runs
    have, a colour for each run, `val_loss` dashed. None without such a phase."""
    having: dict[str, list[str]] = {}
    for name, rows in runs.items():
        for phase in dict.fromkeys(row["phase"] for row in rows):
            having.setdefault(phase, []).append(name)
    shared = {phase: names for phase, names in having.items() if len(names) > 1}
    if not shared:
        return None
    figure, axes = _grid(len(shared), width=4.2, height=3.0)
    for axis, (phase, names) in zip(axes, shared.items(), strict=True):
        for number, name in enumerate(runs):
            rows = [row for row in runs[name] if row["phase"] == phase]
            for metric, dashes in (("loss", "-"), ("val_loss", (0, (3, 1.5)))):
                for across, values in _curves(rows, metric) if name in names else ():
                    label = name if metric == "loss" else f"{name}, validation"
                    few = "o" if len(across) == 1 else None
                    axis.plot(across, values, color=colour(number), linestyle=dashes, marker=few,
                              label=lettering.charted(label))  # fmt: skip
        axis.set(title=f"{phase}: loss", xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.legend(fontsize=8, frameon=True, framealpha=0.8, edgecolor="none")
    return figure


@styled
def distribution(scores: Mapping[str, np.ndarray], *, metric: str = "IoU of an image") -> Figure:
    """Scores per image, {model: (N,)}: a dot for each image, a bar for the middle half, and the median. NaNs are left
    out."""
    figure, (axis,) = _grid(1, width=7.4, height=0.8 + 0.75 * len(scores))
    rng = np.random.default_rng(0)
    for row, values in enumerate(scores.values()):
        values = np.asarray(values, np.float64)
        values = values[~np.isnan(values)]
        axis.scatter(
            values, row + rng.uniform(-0.16, 0.16, len(values)), s=14, color=colour(row), alpha=0.45, linewidths=0
        )
        if len(values):
            low, median, high = np.percentile(values, (25, 50, 75))
            axis.plot((low, high), (row + 0.3, row + 0.3), color=colour(row), linewidth=5)
            axis.plot(median, row + 0.3, "o", color="white", markeredgecolor=INK, markersize=6)
            axis.annotate(f"median {median:.3f}", (median, row + 0.3), (0, -7), va="top", ha="center", fontsize=8,
                          textcoords="offset points", color=INK)  # fmt: skip
    axis.set(xlabel=metric, yticks=range(len(scores)), yticklabels=list(scores), ylim=(len(scores) - 0.3, -0.5))
    axis.set_xlim(-0.02, 1.02)
    axis.tick_params(axis="y", labelcolor=INK)
    axis.grid(axis="y", visible=False)
    return figure


@styled
def paired(
    a: np.ndarray,
    b: np.ndarray,
    names: tuple[str, str],
    *,
    difference: tuple[float, float, float] | None = None,
    metric: str = "IoU",
) -> Figure:
    """Scores of two models on the same images, (N,) each: one against the other, and the differences a - b.

    difference: mean and interval of a - b, from `metrics.bootstrap.paired_difference`, to draw above the differences.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[both], b[both]
    figure, (against, apart) = _grid(2, width=3.7, height=3.4)
    against.axline((0, 0), slope=1, color=GREY, linewidth=1, linestyle=(0, (3, 2)))
    against.scatter(b, a, s=16, color=np.where(a >= b, colour(0), colour(4)), alpha=0.6, linewidths=0)
    against.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    against.set(title=f"{metric} of each image", xlabel=names[1], ylabel=names[0])

    change = a - b
    edges = np.linspace(*(np.array([-1, 1]) * max(0.05, np.abs(change).max(initial=0)) * 1.05), 26)
    counts, _, bars = apart.hist(change, edges)
    for bar, left in zip(bars, edges, strict=False):
        bar.set(facecolor=colour(0) if left + bar.get_width() / 2 >= 0 else colour(4), alpha=0.75, edgecolor="white")
    apart.axvline(0, color=GREY, linewidth=1, linestyle=(0, (3, 2)))
    if difference is not None:
        mean, low, high = difference
        top = 1.08 * max(1, counts.max(initial=1))
        apart.errorbar(
            mean, top, xerr=[[mean - low], [high - mean]], fmt="o", color=INK, capsize=3, markersize=5, linewidth=1.5
        )
        apart.annotate(f"mean {mean:+.3f}", (mean, top), (0, 7), ha="center", fontsize=8,
                       textcoords="offset points", annotation_clip=False)  # fmt: skip
        apart.set_ylim(0, 1.22 * top)
    apart.set(title="Difference", xlabel=f"{names[0]} minus {names[1]}", ylabel="images")
    apart.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


@styled
def confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Number of images (K, K) by true class (rows) and predicted class (columns), shaded by the share of the row. The
    numbers are shown if there is room."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.6 + 0.36 * len(classes), 3.2, 11.0))
    figure = Figure((side, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= 20:
        for row, column in np.argwhere(counts):
            shade = "white" if shares[row, column] > 0.5 else INK
            axis.annotate(str(counts[row, column]), (column, row), ha="center", va="center", color=shade, fontsize=7)
    if len(classes) <= 60:
        named = [lettering.charted(name) for name in classes]
        axis.set_xticks(range(len(named)), named, rotation=90)
        axis.set_yticks(range(len(named)), named)
    axis.set(xlabel="predicted", ylabel="true")
    axis.grid(visible=False)
    return figure


@styled
def similarity(values: np.ndarray, names: Sequence[str], *, label: str = "CKA") -> Figure:
    """A heat map of how alike each two of K things are, (K, K) in 0..1, with the numbers if there is room."""
    side = float(np.clip(2.2 + 0.5 * len(names), 3.6, 11.0))
    figure = Figure((side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(values, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 16:
        for row, column in np.ndindex(*values.shape):
            shade = "white" if values[row, column] > 0.5 else INK
            text = f"{values[row, column]:.2f}"
            axis.annotate(text, (column, row), ha="center", va="center", color=shade, fontsize=7)
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.grid(visible=False)
    figure.colorbar(shown, ax=axis, label=label, shrink=0.8)
    return figure


@styled
def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float] | None]],
    *,
    x: str,
    y: str,
    logarithmic: bool = False,
) -> Figure:
    """Curves by name, (x values, y values, spread of the y values or None), one panel. logarithmic: the x axis, with
    ticks where there are values."""
    figure, (axis,) = _grid(1, width=7.4, height=4.2)
    for number, (name, (across, values, spread)) in enumerate(curves.items()):
        across, values = np.asarray(across, np.float64), np.asarray(values, np.float64)
        dashes = "-" if number < 6 else (0, (3, 1.5))
        few = len(across) <= 12
        axis.plot(
            across,
            values,
            color=colour(number % 6),
            linestyle=dashes,
            marker="o" if few else None,
            label=lettering.charted(name),
        )
        if spread is not None and not np.isnan(spread).all():
            axis.fill_between(across, values - spread, values + spread, color=colour(number % 6), alpha=0.12, lw=0)
    if logarithmic:
        ticks = sorted({value for across, _, _ in curves.values() for value in across})
        axis.set_xscale("log")
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set(xlabel=x, ylabel=y)
    axis.legend(fontsize=8, frameon=True, framealpha=0.8, edgecolor="none")
    return figure


@styled
def maps(
    points: Mapping[str, np.ndarray], labels: np.ndarray | None, classes: Sequence[str], *, named: int = 20
) -> Figure:
    """Maps of the same N images by name, (N, 2) each, a panel for each: a dot for an image, in the colour of its label
    (N,). The legend has the classes that occur, if there are at most `named`."""
    figure, axes = _grid(len(points), width=4.6, height=4.4)
    found = [] if labels is None else np.unique(labels)
    for axis, (panel, places) in zip(axes, points.items(), strict=True):
        if labels is None:
            axis.scatter(*places.T, s=9, color=colour(0), alpha=0.7, linewidths=0)
        for label in found:
            here = places[labels == label]
            axis.scatter(
                *here.T, s=9, color=colour(label), alpha=0.7, linewidths=0, label=lettering.charted(classes[label])
            )
        axis.set(title=panel, xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    if 0 < len(found) <= named:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(5, len(names)), fontsize=8, markerscale=2)
    return figure


@styled
def bars(values: Mapping[str, Sequence[float]], groups: Sequence[str], *, y: str) -> Figure:
    """Upright bars of G groups side by side, {model: (G,)}; a NaN has no bar."""
    figure, (axis,) = _grid(1, width=7.4, height=3.6)
    width = 0.8 / max(len(values), 1)
    for number, (name, heights) in enumerate(values.items()):
        places = np.arange(len(groups)) + (number - (len(values) - 1) / 2) * width
        axis.bar(places, np.nan_to_num(np.asarray(heights, np.float64)), 0.92 * width, color=colour(number), label=name)
    axis.set(ylabel=y, xticks=range(len(groups)), xticklabels=[lettering.charted(group) for group in groups])
    axis.tick_params(axis="x", labelcolor=INK)
    axis.grid(axis="x", visible=False)
    axis.legend(fontsize=8, frameon=True, framealpha=0.8, edgecolor="none")
    return figure


@styled
def exported_files(names: Sequence[str], megabytes: Sequence[float], milliseconds: Sequence[float]) -> Figure:
    """Size of exported files and their time for one image, side by side; NaN for a time that was not measured."""
    figure, axes = _grid(2, width=3.9, height=0.9 + 0.36 * len(names))
    measured = ("Size, MB", np.asarray(megabytes)), ("Time for one image, ms", np.asarray(milliseconds, np.float64))
    for axis, (title, values) in zip(axes, measured, strict=True):
        axis.barh(range(len(names)), np.nan_to_num(values), color=colour(0), height=0.6)
        for row, value in enumerate(values):
            text = "not measured" if np.isnan(value) else f"{value:.3g}"
            axis.annotate(text, (np.nan_to_num(value), row), (4, 0), va="center", textcoords="offset points")
        axis.set(title=title, yticks=range(len(names)), xticks=[], ylim=(len(names) - 0.4, -0.6))
        axis.set_xlim(0, 1.18 * max(np.nan_to_num(values).max(initial=0), 1e-9))
        axis.grid(visible=False)
        axis.spines["bottom"].set_visible(False)
        axis.spines["left"].set_color(FAINT)
    axes[0].set_yticklabels(names)
    axes[0].tick_params(axis="y", labelcolor=INK)
    axes[1].set_yticklabels([])
    return figure


def _grid(panels, *, width=3.4, height):
    """A figure with equal panels, at most `COLUMNS` in a row, and their axes."""
    columns = max(1, min(COLUMNS, panels))
    rows = max(1, -(-panels // columns))
    figure = Figure((width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, axes[:panels]

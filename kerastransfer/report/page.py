"""Writes the report of a run, a self-contained HTML page, from plain values."""

import base64
import dataclasses
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from kerastransfer import __version__, files

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES_TEN = " \N{MULTIPLICATION SIGN} 10"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number and its uncertainty: the ends of an interval over images, a standard deviation over seeds, or both."""

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None


Number = float | Estimate


@dataclasses.dataclass(frozen=True)
class Highlight:
    """One of the few numbers at the top of the page, such as ("0.884", "AP50 of the detector", "96 test images")."""

    value: str
    label: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models on the same images: `difference` is `better` minus `worse` in `metric`, with its interval."""

    better: str
    worse: str
    metric: str
    difference: Estimate


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure. image: the bytes of a PNG file, or its path. chart: whether it is black on white, so that dark mode
    inverts it."""

    title: str
    caption: str
    image: bytes | Path
    chart: bool = False


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """An exported file. maximum, mean: absolute differences between its outputs and those of the Keras model. metric,
    metric_keras: its score and that of the Keras model. reason: why it did not pass."""

    name: str
    bytes: int
    passed: bool
    milliseconds: float | None = None
    maximum: float | None = None
    mean: float | None = None
    metric: float | None = None
    metric_keras: float | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of numbers and words; an empty cell is None. corner: heading of the column with the names of the rows."""

    columns: list[str]
    rows: list[tuple[str, list[Number | str | None]]]
    title: str = ""
    corner: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A further section of the page, for the needs of a recipe or a study. text: paragraphs."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


@dataclasses.dataclass(frozen=True)
class Page:
    """The contents of the page; whatever is empty is left out.

    lead: what was done, in a sentence or two. facts: {"Data": "toy", "Test images": 96, ...}. command: the command
    that repeats the run. results: {model: {metric: number}}. left_out: (sample, reason). seconds: {phase: value}.
    """

    title: str
    lead: str = ""
    highlights: Sequence[Highlight] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    classes: Sequence[str] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: str = ""
    results: Mapping[str, Mapping[str, Number]] = dataclasses.field(default_factory=dict)
    results_note: str = ""
    comparisons: Sequence[Comparison] = ()
    figures: Sequence[Figure] = ()
    exported: Sequence[ExportedFile] = ()
    exported_metric: str = "metric"
    notes: Sequence[str] = ()
    sections: Sequence[Section] = ()
    left_out: Sequence[tuple[str, str]] = ()
    machine: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)


def write_page(path: str | os.PathLike, content: Page) -> None:
    """Write the page, with figures and style sheet included, so that it opens anywhere without a network."""
    files.write_text(path, render(content))


def render(content: Page) -> str:
    """The page as HTML; all text in `content` is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerastransfer.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "signed": signed,
        "small": small,
        "megabytes": megabytes,
        "milliseconds": milliseconds,
        "duration": duration,
        "plain": plain,
        "heading": heading,
        "source": source,
        "estimate": _estimate,
    }
    whole, by_class = tables(content.results)
    reach = max((_reach(comparison.difference) for comparison in content.comparisons), default=0.0) or 1.0
    return environment.get_template("page.html").render(
        page=content,
        whole=whole,
        by_class=by_class,
        reach=reach,
        # The position on a line from -reach to reach.
        place=lambda difference: f"{50 + 50 * difference / reach:.2f}%",
        longest=max(content.seconds.values(), default=0.0) or 1.0,
        version=__version__,
    )


def tables(results: Mapping[str, Mapping[str, Number]]) -> tuple[list[Table], list[Table]]:
    """Results as tables with a row for each model, one table for all models that have the same metrics (such as
    detectors); and the metrics called FAMILY/CLASS as separate tables, one per family with a row for each class."""
    whole: dict[tuple[str, ...], list[str]] = {}
    families: dict[str, dict[str, None]] = {}
    for model, metrics in results.items():
        whole.setdefault(tuple(name for name in metrics if "/" not in name), []).append(model)
        for family, slash, of_class in (name.partition("/") for name in metrics):
            if slash:
                families.setdefault(family, {})[of_class] = None
    by_model = [
        Table([*metrics], [(model, [results[model][name] for name in metrics]) for model in models])
        for metrics, models in whole.items()
        if metrics
    ]
    by_class = []
    for family, classes in families.items():
        models = [model for model, metrics in results.items() if any(f"{family}/{name}" in metrics for name in classes)]
        rows = [(name, [results[model].get(f"{family}/{name}") for model in models]) for name in classes]
        by_class.append(Table(models, rows, title=family))
    return by_model, by_class


def missing(value: float | None) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: float | None, digits: int = 3) -> str:
    """A count as it is, a score with three decimal places, a large number with fewer; a dash if there is none."""
    if missing(value):
        return NONE
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 2):
        return f"{int(value):,}"
    return _minus(f"{value:.{digits}f}" if abs(value) < 100 else f"{value:,.0f}")


def signed(value: float | None) -> str:
    return NONE if missing(value) else _minus(f"{value:+.3f}")


def small(value: float | None) -> str:
    """A difference between outputs with two digits: 0.0013, 1.2 × 10⁻⁷."""
    if missing(value):
        return NONE
    if value == 0 or abs(value) >= 1e-3:
        return _minus(f"{value:.2g}")
    digits, exponent = f"{value:.1e}".split("e")
    return _minus(digits) + TIMES_TEN + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count < 1e7 else f"{count / 1e6:.1f} MB"


def milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def duration(seconds: float) -> str:
    """1.4 s, 2 min 31 s, 1 h 04 min."""
    if missing(seconds):
        return NONE
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def heading(metric: str) -> str:
    """The name of a metric as the heading of a column: IoU mean, AP small."""
    return " ".join({"iou": "IoU", "dice": "Dice"}.get(word, word) for word in metric.split("_"))


def plain(value: Any) -> str:
    """A setting in plain text: yes, none, 0.001, a, b."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "none"
    return str(value)


def source(figure: Figure) -> str:
    """The picture itself, as the source of an <img>. Photos are included as WebP, a tenth of the size of a PNG."""
    data = figure.image if isinstance(figure.image, bytes) else Path(figure.image).read_bytes()
    kind = "png"
    if not figure.chart:
        smaller = io.BytesIO()
        Image.open(io.BytesIO(data)).save(smaller, "WEBP", quality=88)
        data, kind = smaller.getvalue(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _minus(text):
    return text.replace("-", MINUS)


def _estimate(value):
    return value if isinstance(value, Estimate) else Estimate(value)


def _reach(difference):
    ends = (difference.value, difference.low, difference.high)
    return max((abs(end) for end in ends if not missing(end)), default=0.0)

"""Tables on the console."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kerastransfer.lettering import printed

if TYPE_CHECKING:
    from kerastransfer.export.parity import ExportedFile

# Largest number of classes that a table lists.
MOST_CLASSES = 20
# Of more classes, those with most objects.
MOST_ROWS = 25


def counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def most(counts: Mapping[str, float]) -> dict[str, Any]:
    """Counts of classes for a table: where there are many, the largest first, and in a last row what is not shown."""
    if len(counts) <= MOST_CLASSES:
        return dict(counts)
    there = sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])
    shown = {name: counts[name] for name in there[:MOST_ROWS]}
    if len(there) > len(shown):
        shown[f"({len(there) - len(shown)} more)"] = sum(counts[name] for name in there[len(shown) :])
    if len(there) < len(counts):
        shown[f"({len(counts) - len(there)} without any)"] = 0
    return shown


def without_classes(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores without those of single classes (NAME/CLASS), if there are too many of these."""
    single = {name for name in scores if "/" in name}
    return {name: value for name, value in scores.items() if name not in single or len(single) <= MOST_CLASSES}


def table(title: str, rows: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    if rows:
        table = Table(show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(justify="left" if any(isinstance(value, str) for value in rows.values()) else "right")
        for name, value in rows.items():
            table.add_row(name, _written(value))
        # As the table's own title it would be wrapped to the width of the table.
        print(f"\n{title}")
        Console(markup=False, highlight=False).print(table)


def _written(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    return str(value)


def encoders(rows: Iterable[tuple[str, list[float | None]]], columns: Iterable[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("encoder", no_wrap=True)
    for title in columns:
        table.add_column(title, justify="right")
    for name, values in rows:
        table.add_row(name, *(_short(value) for value in values))
    Console(markup=False, highlight=False).print(table)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.1f}"


def numbers(corner: str, columns: Iterable[str], rows: Iterable[tuple[str, list[float]]]) -> None:
    """A table with a heading for each column, and a name and numbers in each row."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column(corner, no_wrap=True)
    for title in columns:
        table.add_column(printed(title), justify="right", overflow="fold")
    for name, values in rows:
        table.add_row(printed(name), *(_written(value) for value in values))
    Console(markup=False, highlight=False).print(table)


def exported(exported: Iterable["ExportedFile"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "MB", "metric (Keras)", "ms", "parity")
    for one in exported:
        metric = "-" if one.metric is None else f"{one.metric['file']:.4f} ({one.metric['keras']:.4f})"
        milliseconds = f"{min(one.milliseconds.values()):.1f}"
        table.add_row(one.path.name, f"{one.bytes / 1e6:.2f}", metric, milliseconds, one.reason or "passed")
    Console(markup=False, highlight=False).print(table)

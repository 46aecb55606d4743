"""`kerastransfer compare`."""

import math
import shlex
from pathlib import Path
from typing import Annotated

import tyro

from kerastransfer.commands import output_files, tables
from kerastransfer.errors import UserError
from kerastransfer.lettering import printed

Runs = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]


def compare(runs: Runs, /, *, output: Path | None = None, overwrite: bool = False) -> None:
    """Compare runs: their scores in a table, and their differences with intervals where the test images are the same.

    Args:
        runs: Folders of two or more runs.
        output: Write a page with the tables and the training and validation curves to this file (NAME.html).
        overwrite: Replace the file if it exists.
    """
    if output is not None:
        if output.suffix != ".html":
            raise UserError(f"--output {output} is not a page; give a name that ends in .html")
        output_files.refuse_to_replace([output], overwrite)
    from kerastransfer.runs import comparing

    found = comparing.read(runs)
    apart = comparing.differences(found)
    for metrics, rows in _tables(found):
        # A row for each metric: there are more of them than models, and a terminal is narrow.
        values = [(metric, [of[number] for _, of in rows]) for number, metric in enumerate(metrics)]
        tables.numbers("metric", [name for name, _ in rows], values)
    for one in apart:
        print(printed(_sentence(one)))
    if not apart:
        print("no two models of these runs have the same task, so there is no difference to show")
    if output is not None:
        _write_page(found, apart, output, shlex.join(["kerastransfer", "compare", *runs]))
        print(output)


def _tables(runs):
    """(metrics, [(run: model, values)]) for all models that have the same metrics; without those of single classes."""
    groups = {}
    for run in runs:
        for model, metrics in run.results.items():
            names = tuple(name for name in metrics if "/" not in name)
            groups.setdefault(names, []).append((f"{run.name}: {model}", [metrics[name] for name in names]))
    return groups.items()


def _sentence(one) -> str:
    first, second = (": ".join(end) for end in (one.first, one.second))
    text = f"{one.metric}: {first} minus {second} is {one.value:+.3f}"
    if one.note:
        return f"{text} ({one.note})"
    if math.isnan(one.low):
        return f"{text} ({one.images} test images, too few for an interval)"
    return f"{text}, 95 % interval {one.low:+.3f} to {one.high:+.3f} ({one.images} test images, paired)"


def _write_page(runs, apart, output, command):
    from kerastransfer.report import figures, style
    from kerastransfer.report.page import Comparison, Estimate, Figure, Page, Section, Table, write_page

    caption = "By epoch. Dashed: on validation images, where the run held some out (--validation)."
    drawn = [
        Figure(f"Training of {run.name}", caption, style.png(figures.learning_curves(run.history)), chart=True)
        for run in runs
        if run.history
    ]
    together = figures.side_by_side({run.name: run.history for run in runs if run.history})
    if together is not None:
        caption = "The loss of phases that the runs share; dashed: on validation images."
        drawn.insert(0, Figure("Losses side by side", caption, style.png(together), chart=True))
    page = Page(
        title=f"Comparison of {', '.join(run.name for run in runs)}",
        lead="Intervals are over test images, which are the same in both runs where one is given.",
        facts={run.name: f"{run.recipe} on {run.data}" for run in runs},
        command=command,
        comparisons=[
            Comparison(": ".join(one.first), ": ".join(one.second), one.metric, Estimate(one.value, one.low, one.high))
            for one in apart
            if not one.note
        ],
        sections=[
            Section(
                "Scores",
                [_sentence(one) for one in apart],
                [Table(list(metrics), rows, corner="run: model") for metrics, rows in _tables(runs)],
            )
        ],
        figures=drawn,
    )
    write_page(output, page)

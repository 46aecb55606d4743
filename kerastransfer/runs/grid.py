"""Runs a recipe for each cell of a grid of settings, such as several seeds, and summarises the results.

Each cell is a separate run in its own folder, and can be resumed; grid.json in the folder above lists the cells.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kerastransfer import files
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap
from kerastransfer.runs import model_card, reporting
from kerastransfer.runs.folder import RunFolder, is_run
from kerastransfer.runs.outcome import Outcome
from kerastransfer.runs.settings import RunConfig

Results = dict[str, dict[str, float]]
Once = Callable[[Any, RunFolder], Outcome]


def over_seeds(recipe: str, config: RunConfig, once: Once) -> Results:
    """Run `once` for --seed, or for each of --seeds. Returns {model: {metric: value}}; with several seeds, the means
    over them."""
    config, company = _with_workers(config)
    with RunFolder(recipe, config, **company) as run:
        config = dataclasses.replace(config, output=str(run.path))
        if not config.seeds:
            outcome = once(config, run)
            if run.leads:
                finish(run, outcome)
                tell(run, outcome, outcome.results, "tflite")
                outcome.refuse_failed()
            return outcome.results
        each = over(recipe, config, {"seed": config.seeds}, once, run, company)
        outcomes = {seed: outcome for (seed,), outcome in each.items()}
        results = mean_and_spread([outcome.results for outcome in outcomes.values()])
        if not run.leads:
            return results
        run.write_metrics(results)
        reporting.write_over_seeds(run, config, outcomes, results)
        first = next(iter(outcomes.values()))
        tell(run, first, results, "seed*/tflite")
        for outcome in outcomes.values():
            outcome.refuse_failed()
        return results


def over(
    recipe: str,
    config: RunConfig,
    axes: Mapping[str, Sequence[Any]],
    once: Once,
    run: RunFolder,
    company: Mapping[str, Any] | None = None,
) -> dict[tuple, Outcome]:
    """Run `once` for all combinations of `axes`; returns {(value of each axis): outcome}.

    axes: {field of the settings: values}. run: the folder of the grid; a cell's folder in it is AXISVALUE_AXISVALUE.
    The finished phases of a cell are not run again.
    """
    cells = {
        values: "_".join(f"{axis}{value}" for axis, value in zip(axes, values, strict=True))
        for values in itertools.product(*axes.values())
    }
    if run.leads:
        files.write_json(
            run.path / "grid.json", {"axes": {k: list(v) for k, v in axes.items()}, "cells": [*cells.values()]}
        )
    found = {}
    for values, name in cells.items():
        folder = run.path / name
        changes = dict(zip(axes, values, strict=True)) | {"seeds": (), "output": str(folder)}
        cell = dataclasses.replace(config, **changes, resume=config.resume and is_run(folder))
        with RunFolder(recipe, cell, **(company or {})) as inner:
            found[values] = once(cell, inner)
            if inner.leads:
                finish(inner, found[values])
    return found


def finish(run: RunFolder, outcome: Outcome) -> None:
    """Write the scores, the report and the model card of a run with one seed."""
    run.write_metrics(outcome.results)
    reporting.write(outcome)
    if card := model_card.of_run(run.path):
        files.write_text(run.models / "README.md", card)


def mean_and_spread(each: Sequence[Results]) -> Results:
    """{model: {metric: mean, metric_spread: sample standard deviation}} over the results of several seeds; of a metric
    that some seeds lack, over the others."""
    combined: Results = {}
    for model, metrics in each[0].items():
        combined[model] = {}
        for metric in metrics:
            there = [results[model] for results in each if model in results]
            mean, spread = bootstrap.spread([found[metric] for found in there if metric in found])
            combined[model] |= {metric: mean, f"{metric}_spread": spread}
    return combined


def tell(run: RunFolder, outcome: Outcome, results: Results, exported: str) -> None:
    """Print the last lines of a run: the main scores, and where the report and the exported files are."""
    print()
    for model, metrics in results.items():
        main = outcome.models[model].main
        spread = metrics.get(f"{main}_spread", np.nan)
        print(f"{model:24} {main} {metrics[main]:.3f}" + ("" if np.isnan(spread) else f" ± {spread:.3f}"))
    print(f"report: {run.path / 'report.html'}")
    if outcome.exported:
        print(f"exported files: {run.path / exported}")


def _with_workers(config: RunConfig) -> tuple[RunConfig, dict[str, Any]]:
    """The settings of this worker, and the options of its `RunFolder` that concern the other workers."""
    from kerastransfer.training import precision, strategy

    strategy.join(config.strategy)
    # Resolved before config.toml is written, so that a run that is resumed on another machine, or repeated from that
    # file, uses the same precision.
    alone = config.strategy in ("none", "mirrored")
    config = dataclasses.replace(config, precision=precision.resolved(config.precision, jit=config.jit, alone=alone))
    index, parts = strategy.worker(config.strategy)[0], strategy.parts(config.strategy)
    if config.batch_size % parts:
        even = -(-config.batch_size // parts) * parts
        raise UserError(f"--batch-size {config.batch_size} cannot be divided among {parts} workers; try {even}")
    if index:
        config = dataclasses.replace(config, quiet=True)
    return config, {"leads": index == 0, "meet": functools.partial(strategy.barrier, config.strategy)}

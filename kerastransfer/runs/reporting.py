"""Writes the outcome of a run as report.html: what was done, the scores and their uncertainty, and pictures."""

import dataclasses
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer.metrics import bootstrap
from kerastransfer.report import figures, style
from kerastransfer.report.page import Comparison, Estimate, ExportedFile, Figure, Highlight, Page, Section, write_page
from kerastransfer.runs import settings
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.tasks import TASKS

HONEST = "All scores are measured on test images, which were used neither for training nor for model selection."
PerImage = Mapping[str, Mapping[str, float]]


def write(outcome: Outcome) -> None:
    """Write the report of a run with one seed, and its figures in the folder figures/."""
    run, per_image = (
        outcome.run,
        {name: result.per_image for name, result in outcome.models.items() if result.per_image},
    )
    results = {
        name: {metric: _estimate(outcome, name, metric) for metric in result.metrics}
        for name, result in outcome.models.items()
    }
    page = dataclasses.replace(
        _page(run, outcome.config, outcome, results),
        comparisons=_comparisons(outcome, per_image),
        sections=_sections(outcome, [outcome]),
        figures=_saved(
            run, [*outcome.figures, *_pictures(outcome), *_charts(outcome, run.history(), per_image, outcome.exported)]
        ),
        seconds={name: phase["seconds"] for name, phase in run.phases.items() if phase["seconds"] is not None},
    )
    write_page(run.path / "report.html", page)


def write_over_seeds(
    run: RunFolder, config: Any, each: Mapping[int, Outcome], results: Mapping[str, Mapping[str, float]]
) -> None:
    """Write the report of several seeds: means with their spread. Models are compared image by image, by the mean score
    of each image over the seeds; or, if single images have no scores, seed by seed."""
    first = next(iter(each.values()))
    estimates = {
        model: {
            metric: Estimate(value, spread=metrics.get(f"{metric}_spread"))
            for metric, value in metrics.items()
            if not metric.endswith("_spread")
        }
        for model, metrics in results.items()
    }
    per_image = {
        model: {
            image: float(np.mean([outcome.models[model].per_image[image] for outcome in each.values()]))
            for image in result.per_image
        }
        for model, result in first.models.items()
        if result.per_image
    }
    rows = [{**row, "seed": seed} for seed, outcome in each.items() for row in outcome.run.history()]
    page = dataclasses.replace(
        _page(run, config, first, estimates),
        results_note=f"Mean and standard deviation over seeds {', '.join(map(str, each))}; each has its own folder.",
        comparisons=[*_comparisons(first, per_image), *_comparisons_of_seeds([*each.values()])],
        sections=_sections(first, [*each.values()]),
        figures=_saved(run, [*first.figures, *_pictures(first), *_charts(first, rows, per_image, first.exported)]),
        seconds={
            f"{name}, seed {seed}": phase["seconds"]
            for seed, outcome in each.items()
            for name, phase in outcome.run.phases.items()
            if phase["seconds"] is not None
        },
    )
    write_page(run.path / "report.html", page)


def _page(run: RunFolder, config: Any, outcome: Outcome, results: Mapping[str, Mapping[str, Estimate]]) -> Page:
    dataset = outcome.data.dataset
    facts = {"Data": config.data, "Split": outcome.data.rule}
    for field, (train, test) in outcome.data.parts.items():
        facts |= {f"Training images with {field}": len(train), f"Test images with {field}": len(test)}
    tasks = dict.fromkeys(result.task for result in outcome.models.values() if result.task)
    return Page(
        title=f"{run.recipe}: {dataset.name}",
        lead=f"{outcome.lead} {HONEST}".strip(),
        highlights=[
            Highlight(
                f"{results[name][result.main].value:.3f}",
                f"{result.main.replace('_', ' ')} of {name}",
                _uncertainty(results[name][result.main]),
            )
            for name, result in outcome.models.items()
            if result.role == "subject"
        ],
        facts=facts,
        classes=dataset.classes or dataset.segmentation_classes or dataset.image_classes,
        settings=settings.flat(config),
        command=f"python -m kerastransfer.recipes.{run.recipe} --config {run.path / 'config.toml'}",
        results=results,
        exported=[_exported(record) for record in outcome.exported],
        exported_metric=" or ".join(TASKS[task].KEPT.replace("_", " ") for task in tasks) or "metric",
        left_out=[(bad.name, bad.reason) for bad in dataset.bad],
        machine={"Processor": _processor(), "Cores": os.cpu_count(), "System": platform.platform(terse=True)},
    )


def _estimate(outcome: Outcome, model: str, metric: str) -> Estimate:
    """The metric, with an interval over the images if it is the mean of their scores."""
    result = outcome.models[model]
    value = result.metrics[metric]
    if metric != result.main or not result.per_image:
        return Estimate(value)
    mean, low, high = bootstrap.interval(np.array(list(result.per_image.values())))
    return Estimate(value, low, high) if np.isclose(mean, value, equal_nan=True) else Estimate(value)


def _uncertainty(estimate: Estimate) -> str:
    if estimate.spread is not None and not np.isnan(estimate.spread):
        return f"± {estimate.spread:.3f} over seeds"
    return "" if estimate.low is None else f"95 % interval {estimate.low:.3f} to {estimate.high:.3f}"


def _sections(outcome: Outcome, each: Sequence[Outcome]) -> list[Section]:
    return [*outcome.sections, *([outcome.summary(each)] if outcome.summary else [])]


def _comparisons(outcome: Outcome, per_image: PerImage) -> list[Comparison]:
    return [
        Comparison(a, b, f"{outcome.models[a].each} of an image", Estimate(*_difference(per_image, a, b)))
        for a, b in _pairs(outcome, per_image)
    ]


def _pairs(outcome: Outcome, per_image: PerImage) -> list[tuple[str, str]]:
    """The pairs that can be compared image by image."""
    return [pair for pair in outcome.pairs if set(pair) <= per_image.keys()]


def _comparisons_of_seeds(each: Sequence[Outcome]) -> Iterator[Comparison]:
    """Those of models whose tasks score no single images."""
    for pair in each[0].pairs:
        if not any(each[0].models[name].per_image for name in pair):
            metric = TASKS[each[0].models[pair[0]].task].KEPT
            yield Comparison(*pair, f"{metric}, seed by seed", Estimate(*difference(each, *pair, metric)))


def difference(each: Sequence[Outcome], a: str, b: str, metric: str) -> tuple[float, float, float]:
    """Mean difference of a metric of two models over the outcomes of several seeds, and the ends of its 95 % confidence
    interval."""
    return bootstrap.difference_over_seeds(*([one.models[name].metrics[metric] for one in each] for name in (a, b)))


def _difference(per_image: PerImage, a: str, b: str) -> tuple[float, float, float]:
    return bootstrap.paired_difference(*(np.array(list(per_image[model].values())) for model in (a, b)))


def _exported(record: Mapping[str, Any]) -> ExportedFile:
    differences, metric = record["differences"].values(), record["metric"] or {}
    return ExportedFile(
        record["path"],
        record["bytes"],
        record["passed"],
        milliseconds=next(iter(record["milliseconds"].values()), None),
        maximum=_largest(one["maximum"] for one in differences),
        mean=_largest(one["mean"] for one in differences),
        metric=metric.get("file"),
        metric_keras=metric.get("keras"),
        reason=record["reason"] or record.get("note", ""),
    )


def _largest(values: Iterable[float | None]) -> float | None:
    """None if a value is missing, as one that is not finite is in JSON."""
    values = list(values)
    return None if None in values else max(values)


def _pictures(outcome: Outcome) -> Iterator[tuple[str, Figure, Any]]:
    """The figures that each task draws of the run's models."""
    for name, task in TASKS.items():
        models = outcome.shown(name)
        if models:
            test = next(outcome.models[model].test for model in models)
            yield from task.figures(models, outcome.data.dataset, test)


def _charts(
    outcome: Outcome, rows: Sequence[Mapping[str, Any]], per_image: PerImage, records: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Figure, Any]]:
    by_score: dict[str, dict[str, np.ndarray]] = {}
    for name, images in per_image.items():
        by_score.setdefault(outcome.models[name].each, {})[name] = np.array(list(images.values()))
    for score, values in by_score.items():
        # Scores that are only right or wrong (0 or 1) have no distribution to show.
        if all(np.isin(of_images, (0, 1)).all() for of_images in values.values()):
            continue
        caption = "Each dot is a test image; the bar spans the middle half, and the line is the median."
        title = f"{score} of each test image"
        drawn = figures.distribution(values, metric=f"{score} of an image")
        yield score.lower(), Figure(title, caption, b"", chart=True), drawn
    for a, b in _pairs(outcome, per_image)[:1]:
        values = [np.array(list(per_image[name].values())) for name in (a, b)]
        drawn = figures.paired(*values, (a, b), difference=_difference(per_image, a, b), metric=outcome.models[a].each)
        yield "paired", Figure(f"The same images: {a} and {b}", "", b"", chart=True), drawn
    if rows:
        validated = any(name.startswith("val_") for row in rows for name in row)
        caption = "Loss by epoch." + (" Dashed: on the validation images." if validated else "")
        yield "curves", Figure("Training", caption, b"", chart=True), figures.learning_curves(rows)
    if records:
        drawn = figures.exported_files(
            [record["path"] for record in records],
            [record["bytes"] / 1e6 for record in records],
            [next(iter(record["milliseconds"].values()), np.nan) for record in records],
        )
        yield "exported", Figure("Exported files", "LiteRT on the CPU of this machine.", b"", chart=True), drawn


def _saved(run: RunFolder, drawn: Sequence[tuple[str, Figure, Any]]) -> list[Figure]:
    """Write each picture to figures/, and return the figures with their paths."""
    done = []
    for name, figure, picture in drawn:
        path = run.figures / f"{name}.png"
        style.save(picture, path)
        done.append(dataclasses.replace(figure, image=path))
    return done


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

"""A run's outcome as report.html: what was done, how well, how sure, and what it looks like."""

import dataclasses
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer.metrics import bootstrap
from kerastransfer.report import figures, pictures, style
from kerastransfer.report.page import Comparison, Estimate, ExportedFile, Figure, Highlight, Page, write_page
from kerastransfer.runs import trained
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import CommonConfig

if TYPE_CHECKING:
    from kerastransfer.runs.outcome import Outcome

SHOWN_DETECTIONS = 6
HIGHLIGHTS = {"mask_AP50": "mask AP50 of", "AP50": "AP50 of", "iou_mean": "mean IoU of"}
PAIRS = (  # which differences say something: (better, worse)
    ("yolo_unet", "yolo_segnet"),
    ("yolo_unet", "segnet_matched"),
    ("yolo_unet_from_boxes", "yolo_segnet"),
    ("yolo_unet_from_boxes", "yolo_unet"),
    ("yolo_segnet", "yolo_segnet_random"),
    ("yolo_unet", "yolo_unet_random"),
    ("yolo_segnet_through", "yolo_segnet"),
    ("yolo_unet_through", "yolo_unet"),
)
METRICS = (
    "AP",
    "AP50",
    "AP75",
    "mask_AP",
    "mask_AP50",
    "mask_AP75",
    "AR100",
    "auc_mean",
    "auc_min",
    "iou_mean",
    "iou_median",
    "iou_min",
    "iou_max",
    "dice_mean",
    "iou_dataset",
)


def write(outcome: "Outcome") -> None:
    """The page of one seed, and its figures beside it."""
    results = {
        model: {metric: _estimate(outcome, model, metric, value) for metric, value in metrics.items() if _worth(metric)}
        for model, metrics in outcome.results.items()
    }
    page = dataclasses.replace(
        _page(outcome.run, outcome.config, outcome, results),
        comparisons=_comparisons(outcome.per_image),
        figures=_saved(
            outcome.run,
            [*outcome.figures, *_pictures(outcome), *_charts(outcome, outcome.run.history(), outcome.per_image)],
        ),
        seconds={name: phase["seconds"] for name, phase in outcome.run.phases.items() if phase["seconds"] is not None},
    )
    write_page(outcome.run.path / "report.html", page)


def write_over_seeds(
    run: RunFolder, config: CommonConfig, each: Mapping[int, "Outcome"], results: Mapping[str, Mapping[str, float]]
) -> None:
    """The page of several seeds: means with their spread; images are compared by their mean over the seeds."""
    first = next(iter(each.values()))
    estimates = {
        model: {
            metric: Estimate(value, spread=metrics.get(f"{metric}_spread"))
            for metric, value in metrics.items()
            if _worth(metric)
        }
        for model, metrics in results.items()
    }
    per_image = {
        model: {
            image: float(np.mean([outcome.per_image[model][image] for outcome in each.values()])) for image in images
        }
        for model, images in first.per_image.items()
    }
    rows = [{**row, "seed": seed} for seed, outcome in each.items() for row in outcome.run.history()]
    page = dataclasses.replace(
        _page(run, config, first, estimates),
        results_note=f"Mean and standard deviation over seeds {', '.join(map(str, each))}; one folder for each.",
        comparisons=_comparisons(per_image),
        figures=_saved(run, [*first.figures, *_pictures(first), *_charts(first, rows, per_image)]),
        seconds={
            f"{name}, seed {seed}": phase["seconds"]
            for seed, outcome in each.items()
            for name, phase in outcome.run.phases.items()
            if phase["seconds"] is not None
        },
    )
    write_page(run.path / "report.html", page)


def _page(run: RunFolder, config: Any, outcome: "Outcome", results: Mapping[str, Mapping[str, Estimate]]) -> Page:
    dataset = outcome.data.dataset
    facts = {"Data": config.data, "Split": outcome.data.rule}
    for field, (train, test) in outcome.data.parts.items():
        facts |= {f"Training images with {field}": len(train), f"Test images with {field}": len(test)}
    what = "A detector was trained on boxes"
    if "instances" in outcome.tasks.values():
        what += ", and was frozen while a branch learnt to draw a mask in each of its boxes"
    elif "map" in outcome.tasks.values():
        what += "; what it says at every few pixels was read as a map, with thresholds chosen by boxes and no mask seen"
    elif "segmentation" in outcome.tasks.values():
        what += "; its encoder was frozen, and decoders were trained on it with masks"
    return Page(
        title=f"{run.recipe}: {dataset.name}",
        lead=f"{what}. All scores are those of test images, which nothing was trained or chosen on.",
        highlights=[
            Highlight(f"{metrics[main].value:.3f}", f"{HIGHLIGHTS[main]} {model}", _uncertainty(metrics[main]))
            for model, metrics in results.items()
            for main in HIGHLIGHTS
            if main in metrics
            and outcome.tasks[model] != "map"
            and not model.endswith(("_random", "_through", "_matched"))
        ],
        facts=facts,
        classes=dataset.classes or dataset.segmentation_classes,
        settings={field.name: getattr(config, field.name) for field in dataclasses.fields(config)},
        command=f"python -m kerastransfer.recipes.{run.recipe} --config {run.path / 'config.toml'}",
        results=results,
        exported=[_exported(record) for records in outcome.exported.values() for record in records],
        exported_metric="AP, mask AP or mean IoU",
        left_out=[(bad.name, bad.reason) for bad in dataset.bad],
        machine={"Processor": _processor(), "Cores": os.cpu_count(), "System": platform.platform(terse=True)},
    )


def _worth(metric: str) -> bool:
    return metric in METRICS or "/" in metric


def _estimate(outcome: "Outcome", model: str, metric: str, value: float) -> Estimate:
    if metric != "iou_mean":
        return Estimate(value)
    return Estimate(*bootstrap.interval(np.array(list(outcome.per_image[model].values()))))


def _uncertainty(estimate: Estimate) -> str:
    if estimate.spread is not None and not np.isnan(estimate.spread):
        return f"± {estimate.spread:.3f} over seeds"
    return "" if estimate.low is None else f"95 % interval {estimate.low:.3f} to {estimate.high:.3f}"


def _comparisons(per_image: Mapping[str, Mapping[str, float]]) -> list[Comparison]:
    pairs = [pair for pair in PAIRS if set(pair) <= per_image.keys()]
    return [Comparison(a, b, "IoU of an image", Estimate(*_difference(per_image, a, b))) for a, b in pairs]


def _difference(per_image, a, b):
    return bootstrap.paired_difference(*(np.array(list(per_image[model].values())) for model in (a, b)))


def _exported(record: Mapping[str, Any]) -> ExportedFile:
    differences, metric = record["differences"].values(), record["metric"] or {}
    return ExportedFile(
        record["path"],
        record["bytes"],
        record["passed"],
        milliseconds=next(iter(record["milliseconds"].values()), None),
        maximum=max(one["maximum"] for one in differences),
        mean=max(one["mean"] for one in differences),
        metric=metric.get("file"),
        metric_keras=metric.get("keras"),
        reason=record["reason"],
    )


def _pictures(outcome: "Outcome") -> Iterator[tuple[str, Figure, Any]]:
    """(name of the file, figure without its image, what to draw) of detections and of masks."""
    kept = [model for model in outcome.results if not model.endswith(("_random", "_through"))]
    for model in kept:
        if outcome.tasks[model] in ("detection", "instances"):
            predictor = trained.open_predictor(outcome.run.models / f"{model}.keras")
            masked = outcome.tasks[model] == "instances"
            _, test = outcome.data.parts["masks" if masked else "boxes"]
            examples = [sample.read() for sample in trained.spread(test, SHOWN_DETECTIONS).samples]
            found = [dataclasses.asdict(predictor.predict(example["image"])) for example in examples]
            images = [example["image"] for example in examples]
            picture = pictures.detections(images, examples, found, outcome.data.dataset.classes)
            if masked:
                figure = Figure("Instances", f"Truth and what {model} finds, test images.", b"")
                yield f"instances_{model}", figure, picture
            else:
                yield (
                    "detections",
                    Figure("Detections", "Truth and what the detector finds, test images.", b""),
                    picture,
                )

    segmenters = [model for model in kept if outcome.tasks[model] == "segmentation"]
    if not segmenters:
        return
    last = segmenters[-1] if "yolo_unet" not in segmenters else "yolo_unet"
    scores = outcome.per_image[last]
    names = list(scores)
    chosen = pictures.best_median_worst(np.array(list(scores.values())), each=2)
    picked = [(f"{rank}: {names[index]}", names[index]) for rank, indices in chosen.items() for index in indices]
    _, test = outcome.data.parts["segmentation"]
    samples = {sample.name: sample for sample in test.samples}
    examples = [samples[name].read() for _, name in picked]
    predicted = {}
    for model in segmenters:
        predictor = trained.open_predictor(outcome.run.models / f"{model}.keras")
        predicted[model] = [predictor.predict(example["image"]).segmentation for example in examples]
    picture = pictures.masks(
        [example["image"] for example in examples],
        [example["segmentation"] for example in examples],
        predicted,
        names=[title for title, _ in picked],
        scores={model: [outcome.per_image[model][name] for _, name in picked] for model in segmenters},
    )
    caption = f"Image, truth and each model; best, median and worst test images by the IoU of {last}."
    yield "masks", Figure("Masks", caption, b""), picture


def _charts(
    outcome: "Outcome", rows: Sequence[Mapping[str, Any]], per_image: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[str, Figure, Any]]:
    if per_image:
        values = {model: np.array(list(images.values())) for model, images in per_image.items()}
        caption = "A dot for each test image; the bar holds the middle half, the line is the median."
        yield "iou", Figure("IoU of each test image", caption, b"", chart=True), figures.distribution(values)
        for a, b in PAIRS[:1]:
            if {a, b} <= values.keys():
                drawn = figures.paired(values[a], values[b], (a, b), difference=_difference(per_image, a, b))
                yield "paired", Figure("The same images, two decoders", "", b"", chart=True), drawn
    if rows:
        yield "curves", Figure("Training", "Loss by epoch.", b"", chart=True), figures.learning_curves(rows)
    records = [record for records in outcome.exported.values() for record in records]
    if records:
        drawn = figures.exported_files(
            [record["path"] for record in records],
            [record["bytes"] / 1e6 for record in records],
            [next(iter(record["milliseconds"].values()), np.nan) for record in records],
        )
        yield "exported", Figure("Exported files", "LiteRT on this machine's processor.", b"", chart=True), drawn


def _saved(run: RunFolder, drawn: Sequence[tuple[str, Figure, Any]]) -> list[Figure]:
    """Write each picture to figures/, and hand the figures on with it."""
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

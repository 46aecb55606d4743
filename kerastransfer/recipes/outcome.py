"""What a run comes to: kept models, scores on the test images, exported files, metrics.json and the report."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastransfer import files
from kerastransfer.data.dataset import Dataset
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap
from kerastransfer.recipes import scoring, trained, under_tensorflow
from kerastransfer.recipes.config import CommonConfig
from kerastransfer.recipes.run_folder import RunFolder
from kerastransfer.recipes.training import Data


@dataclasses.dataclass
class Outcome:
    """Fills up as the phases end; `write` turns it into metrics.json and the report.

    results: {model: {metric: value}} on the test images; per_image: {model: {name of image: IoU}} of segmenters;
    exported: {model: records of its files}; tasks: {model: task}; figures: further ones for the report, each a name for
    its file, a `report.page.Figure` without an image, and the picture.
    """

    config: Any
    run: RunFolder
    data: Data
    results: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    per_image: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    exported: dict[str, list[dict]] = dataclasses.field(default_factory=dict)
    tasks: dict[str, str] = dataclasses.field(default_factory=dict)
    figures: list[tuple] = dataclasses.field(default_factory=list)

    def score(self, name: str, task: str, test: Dataset) -> None:
        """Score models/NAME.keras on the test images, and write what it predicts to predictions/NAME.json."""

        def work() -> dict:
            predictor = trained.open_predictor(self.run.models / f"{name}.keras")
            self.say(f"scoring {name} on {len(test)} test images")
            scored = scoring.scored(predictor.predict, test, task, predictor.metadata.labels)
            kind = "bbox" if task == "detection" else "segm"
            files.write_json(self.run.predictions / f"{name}.json", scored.coco_results)
            files.write_json(self.run.predictions / f"truth_{kind}.json", scored.coco_truth)
            return {"metrics": scored.metrics, "per_image": scored.per_image}

        result = self.run.phase(f"score_{name}", work)
        self.add(name, task, result["metrics"], result["per_image"])

    def add(self, name: str, task: str, metrics: dict[str, Any], per_image: dict[str, Any]) -> None:
        """Take in scores as JSON brings them back: None for NaN."""
        self.tasks[name] = task
        self.results[name] = {metric: np.nan if v is None else v for metric, v in metrics.items()}
        if per_image:
            self.per_image[name] = {image: np.nan if v is None else v for image, v in per_image.items()}

    def export(self, name: str, train: Dataset, test: Dataset) -> None:
        """Write SavedModel and LiteRT files of models/NAME.keras, each held against it on test images.

        A file out of tolerance does not stop the run: `refuse_failed` does, once all is written down.
        """
        if not self.config.export:
            return

        def work() -> dict:
            self.say(f"exporting {name}")
            model = self.run.models / f"{name}.keras"
            return under_tensorflow.call(export_files, model, train, test, self.run.saved_model, self.run.tflite)

        self.exported[name] = self.run.phase(f"export_{name}", work)["files"]

    def refuse_failed(self) -> None:
        """Raise ParityError if any exported file is out of tolerance."""
        failed = [record for records in self.exported.values() for record in records if not record["passed"]]
        if failed:
            from kerastransfer.export import parity

            raise parity.ParityError([parity.ExportedFile(**record) for record in failed])

    def say(self, text: str) -> None:
        if not self.config.quiet:
            print(text, flush=True)

    def write(self) -> None:
        """metrics.json and report.html."""
        from kerastransfer.recipes import reporting

        self.run.write_metrics(self.results)
        reporting.write(self)


def export_files(model: Path, train: Dataset, test: Dataset, saved_model: Path, tflite: Path) -> dict[str, list[dict]]:
    """`trained.export`; returns {"files": its records}, of those out of tolerance too."""
    from kerastransfer.export import parity

    try:
        records = trained.export(model, train, test, saved_model=saved_model, tflite=tflite)
    except parity.ParityError as error:
        records = error.files
    return {"files": [{**dataclasses.asdict(record), "path": record.path.name} for record in records]}


def keep(
    run: RunFolder,
    network: Any,
    name: str,
    task: str,
    labels: Sequence[str],
    image_size: int,
    codec: Any = None,
    masks: Any = None,
    detections: int = 0,
    resize: str = "stretch",
) -> None:
    """models/NAME.keras with NAME.json beside it, in float32 whatever it was trained in, and NAME.weights.h5."""
    from kerastransfer.export.portable import in_float32

    network = in_float32(network)
    trained.write(
        network,
        run.models / f"{name}.keras",
        task=task,
        labels=labels,
        image_size=(image_size, image_size),
        codec=codec,
        masks=masks,
        detections=detections,
        resize=resize,
    )
    with files.replacing(run.models / f"{name}.weights.h5") as temporary:
        network.save_weights(temporary)


def over_seeds(recipe: str, config: CommonConfig, once: Callable[[Any, RunFolder], Outcome]) -> dict:
    """Run `once` for the seed, or for each of --seeds in a folder of its own; returns {model: {metric: value}}.

    Over several seeds every metric is the mean, and METRIC_spread beside it the sample standard deviation.
    """
    from kerastransfer.training import precision, strategy

    strategy.join(config.strategy)
    # Resolved before config.toml is written: a run that is resumed on another machine, or repeated from that file,
    # computes as it began or is refused.
    alone = config.strategy in ("none", "mirrored")
    config = dataclasses.replace(config, precision=precision.resolved(config.precision, jit=config.jit, alone=alone))
    index, parts = strategy.worker(config.strategy)[0], strategy.parts(config.strategy)
    if config.batch_size % parts:
        even = -(-config.batch_size // parts) * parts
        raise UserError(f"--batch-size {config.batch_size} cannot be shared by {parts} workers: try {even}")
    if index:
        config = dataclasses.replace(config, quiet=True)
    company = {"leads": index == 0, "meet": functools.partial(strategy.barrier, config.strategy)}
    with RunFolder(recipe, config, **company) as run:
        if not config.seeds:
            result = once(config, run)
            if run.leads:
                result.write()
                tell(result.results, run.path, bool(result.exported))
                result.refuse_failed()
            return result.results

        each: dict[int, Outcome] = {}
        for seed in config.seeds:
            folder = str(run.path / f"seed{seed}")
            one = dataclasses.replace(config, seed=seed, seeds=(), output=folder)
            with RunFolder(recipe, one, **company) as inner:
                each[seed] = once(one, inner)
                if run.leads:
                    each[seed].write()
        results = mean_and_spread([outcome.results for outcome in each.values()])
        if not run.leads:
            return results
        run.write_metrics(results)
        from kerastransfer.recipes import reporting

        reporting.write_over_seeds(run, config, each, results)
        tell(results, run.path, config.export)
        for outcome in each.values():
            outcome.refuse_failed()
        return results


def mean_and_spread(each: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """{model: {metric: mean, metric_spread: sample standard deviation}} of results over seeds."""
    combined: dict[str, dict[str, float]] = {}
    for model, metrics in each[0].items():
        combined[model] = {}
        for metric in metrics:
            mean, spread = bootstrap.spread([results[model][metric] for results in each])
            combined[model] |= {metric: mean, f"{metric}_spread": spread}
    return combined


def tell(results: dict[str, dict[str, float]], folder: Path, exported: bool) -> None:
    """The last lines of a run: the main scores, and where everything lies."""
    print()
    for model, metrics in results.items():
        main = next(metric for metric in trained.MAIN_SCORE.values() if metric in metrics)
        spread = metrics.get(f"{main}_spread", np.nan)
        print(f"{model:24} {main} {metrics[main]:.3f}" + ("" if np.isnan(spread) else f" ± {spread:.3f}"))
    print(f"report: {folder / 'report.html'}")
    if exported:
        print(
            f"exported files: {folder / 'tflite'}"
            if (folder / "tflite").exists()
            else f"exported files: {folder}/seed*/tflite"
        )

"""What a run produces: models, their scores on the test images, exported files, and the contents of the report."""

import dataclasses
import gc
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kerastransfer import files
from kerastransfer.data.dataset import Dataset
from kerastransfer.errors import UserError
from kerastransfer.runs import trained, under_tensorflow
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks import TASKS
from kerastransfer.tasks.about import About
from kerastransfer.tasks.scored import Shown

if TYPE_CHECKING:
    from kerastransfer.report.page import Section

Role = Literal["subject", "control", "beside"]


@dataclasses.dataclass
class Result:
    """A model, or a map, with its scores on the test images.

    metrics: {name: value}. main: the name of the metric that is shown first.
    per_image: {image: value of the metric `each`}, from which models are compared image by image.
    role: "subject" of the run, "control" that a subject is compared with, or "beside" for further models that are
        scored for comparison.
    task, test: None for what is not a model of the run.
    exported: records of the exported files.
    """

    metrics: dict[str, float]
    main: str
    per_image: dict[str, float] = dataclasses.field(default_factory=dict)
    each: str | None = None
    role: Role = "subject"
    task: str | None = None
    test: Dataset | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    exported: list[dict] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Outcome:
    """Filled by the phases of a run, and written to files by `runs.grid`.

    lead: what was done, in a sentence or two, at the top of the report.
    pairs: (better, worse) models to compare: image by image, or, if their task scores no single images, seed by seed.
    figures: further figures of the report: (file name, `report.page.Figure` without an image, picture).
    sections: further `report.page.Section`s.
    summary: a function from the outcomes of all seeds to a further section, or None.
    """

    config: Any
    run: RunFolder
    data: Data
    lead: str = ""
    models: dict[str, Result] = dataclasses.field(default_factory=dict)
    pairs: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    figures: list[tuple] = dataclasses.field(default_factory=list)
    sections: list = dataclasses.field(default_factory=list)
    summary: "Callable[[Sequence[Outcome]], Section] | None" = None
    _predictors: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def results(self) -> dict[str, dict[str, float]]:
        """{model: {metric: value}}."""
        return {name: result.metrics for name, result in self.models.items()}

    def predictor(self, name: str) -> trained.AnyPredictor:
        """The predictor for models/NAME.keras, which is opened only once."""
        if name not in self._predictors:
            self._predictors[name] = trained.open_predictor(self.run.models / f"{name}.keras")
        return self._predictors[name]

    def forget(self, name: str) -> None:
        """Free the memory of the predictor for models/NAME.keras; it is opened again if it is needed. For runs with
        many models."""
        self._predictors.pop(name, None)
        # Keras's models refer to themselves, so they would stay until the next collection.
        gc.collect()

    def score(self, name: str, task: str, test: Dataset, role: Role = "subject") -> None:
        """Score models/NAME.keras on the test images, and write what it predicts to predictions/NAME.json."""

        def work() -> dict:
            predictor = self.predictor(name)
            self.say(f"scoring {name} on {len(test)} test images")
            scored = TASKS[task].score(predictor.predict, test, predictor.about.labels, keep=True)
            for ending, results in scored.results.items():
                files.write_json(self.run.predictions / f"{name}{ending}.json", results)
            if scored.truth is not None:
                files.write_json(self.run.predictions / f"truth_{task}.json", scored.truth)
            of = {"metrics": scored.metrics, "per_image": scored.per_image, "details": scored.details}
            return of | {"test_images": images}

        images = hashlib.sha256("\n".join(sample.name for sample in test.samples).encode()).hexdigest()
        found = self.run.phase(f"score_{name}", work)
        # Runs of version 0.1 did not say.
        if found.get("test_images", images) != images:
            raise UserError(
                f"the {len(test)} test images are not those that {name} was scored on; put the data back as it was, or "
                "start again with --overwrite"
            )
        module = TASKS[task]
        result = self.add(name, found["metrics"], found["per_image"], module.MAIN, module.EACH, role)
        result.task, result.test, result.details = task, test, found.get("details", {})

    def add(
        self,
        name: str,
        metrics: dict[str, Any],
        per_image: dict[str, Any],
        main: str,
        each: str | None,
        role: Role = "subject",
    ) -> Result:
        """Add scores as they are read from JSON, in which NaN is None."""
        metrics, per_image = (
            {key: np.nan if v is None else v for key, v in some.items()} for some in (metrics, per_image)
        )
        self.models[name] = Result(metrics, main, per_image, each, role)
        return self.models[name]

    def compare(self, better: str, worse: str) -> None:
        """Have the report compare two models, if both were scored."""
        if {better, worse} <= self.models.keys():
            self.pairs.append((better, worse))

    def export(self, name: str, train: Dataset, test: Dataset) -> None:
        """Export models/NAME.keras as SavedModel and LiteRT files, each compared with it on test images.

        A failed parity check does not abort the run; `refuse_failed` raises after everything has been written.
        """
        if not self.config.export:
            return

        def work() -> dict:
            self.say(f"exporting {name}")
            model = self.run.models / f"{name}.keras"
            return under_tensorflow.call(export_files, model, train, test, self.run.saved_model, self.run.tflite)

        self.models[name].exported = self.run.phase(f"export_{name}", work)["files"]

    @property
    def exported(self) -> list[dict]:
        """The records of all exported files."""
        return [record for result in self.models.values() for record in result.exported]

    def refuse_failed(self) -> None:
        """Raise ParityError if any exported file is out of tolerance."""
        failed = [record for record in self.exported if not record["passed"]]
        if failed:
            from kerastransfer.export import parity

            raise parity.ParityError([parity.ExportedFile(**record) for record in failed])

    def shown(self, task: str) -> dict[str, Shown]:
        """The subjects of the run that belong to a task, in the form that the task's `figures` takes."""
        return {
            name: Shown(self.predictor(name).predict, result.per_image, result.details)
            for name, result in self.models.items()
            if result.task == task and result.role == "subject"
        }

    def say(self, text: str) -> None:
        if not self.config.quiet:
            print(text, flush=True)


def export_files(model: Path, train: Dataset, test: Dataset, saved_model: Path, tflite: Path) -> dict[str, list[dict]]:
    """`trained.export`; returns {"files": its records}, including those of files out of tolerance."""
    from kerastransfer.export import parity

    try:
        records = trained.export(model, train, test, saved_model=saved_model, tflite=tflite)
    except parity.ParityError as error:
        records = error.files
    return {"files": [{**dataclasses.asdict(record), "path": record.path.name} for record in records]}


def keep(run: RunFolder, name: str, network: Any, about: About) -> None:
    """Write models/NAME.keras and, beside it, NAME.json and NAME.weights.h5, in float32 whatever the precision of
    training was."""
    from kerastransfer.export.portable import in_float32

    network = in_float32(network)
    trained.write(network, run.models / f"{name}.keras", about)
    with files.replacing(run.models / f"{name}.weights.h5") as temporary:
        network.save_weights(temporary)


def keep_part(run: RunFolder, name: str, part: Any) -> None:
    """Write models/NAME.keras, in float32, for a part that is useful on its own, such as an encoder."""
    from kerastransfer.export import loading
    from kerastransfer.export.portable import in_float32

    loading.write_keras(in_float32(part), run.models / f"{name}.keras")

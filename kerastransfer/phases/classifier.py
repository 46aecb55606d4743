"""The phase that trains a classifier of whole images on any encoder."""

import dataclasses
import functools
from pathlib import Path
from typing import Literal

from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.runs import fitting, outcome
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks.about import About


@dataclasses.dataclass
class ClassifierConfig(fitting.TrainingConfig):
    """Flags of every recipe that trains a classifier."""

    classifier_epochs: int = 60
    """Epochs that the classifier trains for."""
    dropout: float = 0.2
    """Share of the pooled features that is dropped in training."""
    smoothing: float = 0.1
    """Share of the target that label smoothing spreads over all classes."""
    freeze: Literal["full", "weights", "none"] = "none"
    """Train the encoder as well (`none`), freeze it fully, or let only the statistics of its batch normalization drift
    (`weights`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "classifier_epochs")
        for name in ("dropout", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be at least 0 and below 1")


def classifier(
    name: str,
    source: Path | str,
    config: ClassifierConfig,
    run: RunFolder,
    data: Data,
    result: outcome.Outcome,
    *,
    role: outcome.Role = "subject",
) -> None:
    """Train models/NAME.keras on the encoder in the file `source`, or on a new one of that name in `encoders.ENCODERS`;
    score and export it, and keep its encoder as models/encoder.keras."""
    from kerastransfer.encoders.yolov1 import ENCODERS
    from kerastransfer.losses.labels import label_loss
    from kerastransfer.models.classifier import classifier as build
    from kerastransfer.models.parts import freeze
    from kerastransfer.phases.segmenter import require_size
    from kerastransfer.runs import trained
    from kerastransfer.training import strategy, transfer

    train, test = data.parts["label"]
    classes = data.dataset.image_classes

    def work() -> dict:
        with strategy.scope(config.strategy):
            given = isinstance(source, Path)
            part = trained.encoder(source) if given else ENCODERS[source]()
            require_size(part, config)
            network = build(part, len(classes), dropout=config.dropout)
            if config.freeze != "none":
                freeze(part, config.freeze)
            before = transfer.weights(part)
            objective = fitting.Objective(
                network,
                functools.partial(label_loss, smoothing=config.smoothing),
                {"cross_entropy": 1.0},
                fields=("label",),
                epochs=config.classifier_epochs,
                learning_rate=config.learning_rate,
            )
            fitting.fit(objective, train, config, run, name)
        after = transfer.weights(part)
        if run.leads:
            size = (config.image_size, config.image_size)
            outcome.keep_part(run, "encoder", part)
            outcome.keep(run, name, network, About("classification", classes, size, config.resize))
        happened = transfer.compared(before, after)
        copied = sorted(before) if given else []
        report = {"source": str(source) if given else "random weights", "copied": copied}
        return {**report, **happened, "frozen": [] if config.freeze == "none" else happened["frozen"]}

    report = fitting.phase(config, run, name, work)
    run.write_transfer(name, report)
    if config.freeze == "full" and report["moved"]:
        raise RuntimeError(f"{name}: the encoder was frozen, but {report['moved'][:3]} moved")
    result.score(name, "classification", test, role)
    result.export(name, train, test)

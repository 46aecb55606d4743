"""The phase that trains a classifier of whole images on any encoder."""

import dataclasses
import functools
from pathlib import Path
from typing import Literal

from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.runs import fit_settings, fitting, outcome
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks.about import About


@dataclasses.dataclass
class ClassifierConfig(fit_settings.TrainingConfig):
    """The flags of all recipes that train a classifier."""

    classifier_epochs: int = 60
    """Number of epochs to train the classifier for."""
    dropout: float = 0.2
    """Dropout rate of the pooled features."""
    smoothing: float = 0.1
    """Label smoothing: share of the target that is spread over all classes."""
    freeze: Literal["full", "weights", "none"] = "none"
    """What to freeze of the encoder: nothing (`none`), everything (`full`), or everything except the statistics of its
    batch normalization (`weights`)."""

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
    encoder: str | None = "encoder",
) -> None:
    """Train models/NAME.keras, score it and export it; its encoder is kept as models/ENCODER.keras.

    source: a path to a file with an encoder, or the name of one in `encoders.ENCODERS` for random weights.
    """
    from kerastransfer.encoders import ENCODERS
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
            if encoder:
                outcome.keep_part(run, encoder, part)
            outcome.keep(run, name, network, About("classification", classes, size, config.resize))
        happened = transfer.compared(before, after)
        copied = sorted(before) if given else []
        report = {"source": str(source) if given else "random weights", "copied": copied}
        return {**report, **happened, "frozen": [] if config.freeze == "none" else happened["frozen"]}

    report = fitting.phase(config, run, name, work)
    run.write_transfer(name, report)
    if config.freeze == "full" and report["moved"]:
        raise RuntimeError(f"{name}: the encoder was frozen, but {report['moved'][:3]} changed")
    result.score(name, "classification", test, role)
    result.export(name, train, test)

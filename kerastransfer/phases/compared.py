"""Two models, of any kind, as what the studies of them read."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerastransfer import presets
from kerastransfer.analysis.material import Classified, Detected, Features, Material, Segmented
from kerastransfer.errors import UserError
from kerastransfer.phases import study_material
from kerastransfer.phases.studies import StudiesConfig
from kerastransfer.runs import sharing, trained
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.tasks import TASKS

if TYPE_CHECKING:
    import keras

# Task of whole models: what the studies of them read, and the field that the test images need for it.
OF_TASK = {"detection": Detected, "instances": Detected, "segmentation": Segmented, "classification": Classified}
NAMES = {Detected: "detectors", Segmented: "segmenters", Classified: "classifiers"}


@dataclasses.dataclass(frozen=True)
class Compared:
    """The models to compare: {name: file, or name of published weights}, two of each kind.

    encoders: for the studies of features. models: for those of what models predict; only pairs of one task.
    """

    encoders: Mapping[str, str | Path]
    models: Mapping[type[Material], Mapping[str, str | Path]]


def sources(
    compared: Compared, config: StudiesConfig, run: RunFolder, data: Data, *, tap: str | None
) -> dict[type[Material], Callable[[], Material] | str]:
    """What there is to study, each a function that gathers it, or why it cannot be. tap: of both encoders; by default
    the deepest of each."""
    from kerastransfer.data import splits

    found: dict[type[Material], Callable[[], Material] | str] = {}
    for kind, name in NAMES.items():
        field = TASKS[next(task for task, of_task in OF_TASK.items() if of_task is kind)].FIELD
        if kind not in compared.models:
            found[kind] = f"it compares two {name}, and the run does not have them"
        elif field not in data.parts:
            found[kind] = f"the images are not annotated with {field}"
    test = {field: parts[1] for field, parts in data.parts.items()}

    def opened(kind):
        return {name: predictor(path) for name, path in compared.models[kind].items()}

    gather = {
        Detected: lambda: study_material.detected(opened(Detected), test["boxes"], quiet=config.quiet),
        Segmented: lambda: study_material.segmented(
            opened(Segmented), test["segmentation"], run.checkpoints / "maps", quiet=config.quiet
        ),
        Classified: lambda: study_material.classified(opened(Classified), test["label"], quiet=config.quiet),
    }
    found |= {kind: work for kind, work in gather.items() if kind not in found}

    def features() -> Features:
        encoders = {name: trained.encoder(path) for name, path in compared.encoders.items()}
        # Where some images have labels, these alone are studied.
        train, test = data.parts.get("label") or splits.split(data.dataset, data.rule, ())
        return study_material.features(
            encoders,
            train,
            test,
            run.checkpoints / "features",
            image_size=config.image_size,
            resize=getattr(config, "resize", "stretch"),
            taps={name: tapped(name, encoder, tap) for name, encoder in encoders.items()},
            heads={name: head(path, config.image_size) for name, path in compared.encoders.items()},
            all_unseen=config.all_unseen,
            quiet=config.quiet,
        )

    return found | {Features: features}


def kind(paths: Sequence[str | Path]) -> type[Material] | None:
    """What the studies of two whole models of one task read; None for encoders, and for models of different tasks."""
    kinds = {OF_TASK.get(task(path)) for path in paths}
    return kinds.pop() if len(kinds) == 1 else None


def task(path: str | Path) -> str | None:
    """The task of a whole model; None for an encoder alone."""
    if trained.is_name(path):
        return "detection" if str(path) in presets.DETECTORS else None
    if not sharing.local(path).with_suffix(".json").is_file():
        return None
    return trained.stored(path)[1].task


def predictor(path: str | Path) -> trained.AnyPredictor:
    """The predictor of a whole model."""
    if not trained.is_name(path):
        return trained.open_predictor(path)
    from kerastransfer.export.keras_predictor import KerasPredictor

    network, about = trained.detector(path)
    return KerasPredictor(TASKS[about.task].graph(network, about), about)


def tapped(name: str, encoder: "keras.Model", tap: str | None) -> str:
    """The tap to study. Raises UserError for one that the encoder does not have."""
    from kerastransfer.encoders import taps

    if tap is None:
        return taps.last(encoder)
    if tap not in encoder.output:
        raise UserError(f"--tap {tap}: the encoder {name} has {', '.join(encoder.output)}; choose one that both have")
    return tap


def head(path: str | Path, image_size: int) -> "keras.Model | None":
    """The features of a detector's head for images of this side, of a file that has one."""
    if task(path) not in ("detection", "instances") or trained.is_name(path):
        return None
    from kerastransfer.models.head_features import head_features

    return head_features(trained.stored(path)[0], (image_size, image_size))

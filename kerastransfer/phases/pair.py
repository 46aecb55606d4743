"""A pair of encoders that learnt different things from the same images in equally many steps."""

import contextlib
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from kerastransfer import pretexts
from kerastransfer.errors import UserError
from kerastransfer.phases.pretext import RANDOM, PretextConfig, pretext, random_encoder
from kerastransfer.phases.studies import StudiesConfig
from kerastransfer.runs import trained
from kerastransfer.runs.data import Data, load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.runs.short_names import short_names

if TYPE_CHECKING:
    import keras

# Fields that studies read where the data has them.
USEFUL = ("boxes", "segmentation", "label")


@dataclasses.dataclass
class PairConfig(StudiesConfig, PretextConfig):
    """The flags of recipes that study two encoders."""

    CHOSEN: ClassVar = {**PretextConfig.CHOSEN, **StudiesConfig.CHOSEN}

    models: tuple[str, ...] = ()
    """Two models: .keras files of encoders or whole models, or names of published weights (`kerastransfer presets`
    lists them); the first is the one that the claims are about. Without any, --pretexts are trained on the data."""
    encoder: str = "resnet18"
    """The encoder that --pretexts train: one that is built here with random weights (resnet18, small, unet, ...), a
    .keras file, or the name of published weights (`kerastransfer presets` lists them), or hub:NAME for a backbone of
    keras-hub."""
    pretexts: tuple[str, ...] = ("detection", "classification")
    """The two pretexts to train if no models are given, on the same images and for equally many steps; the first is the
    one that the claims are about. Choose two of simclr, reconstruction, conrec, conrec_one, segmentation,
    classification, detection; random is an encoder with random weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.models and len(self.models) != 2:
            raise UserError(f"--models has {len(self.models)} models; give two to compare")
        if len(set(self.models)) < len(self.models):
            raise UserError("--models names a model twice; give two different ones")
        for path in self.models:
            trained.require_encoder(path, "--models")
        if len(self.pretexts) != 2 or self.pretexts[0] == self.pretexts[1]:
            raise UserError(f"--pretexts is {' '.join(self.pretexts)}; give two different ones")
        for name in self.pretexts:
            if name != RANDOM:
                pretexts.pretext(name)


def required(config: PairConfig) -> list[str]:
    """What the images must be annotated with for the pretexts that are trained."""
    learnt = [] if config.models else [name for name in config.pretexts if name != RANDOM]
    return list(dict.fromkeys(field for name in learnt for field in pretexts.pretext(name).FIELDS))


def load(config: PairConfig, *learnt: str) -> Data:
    """The data, and what the studies read of it where it is there or follows from others. Pretexts learn from the same
    images: the training images with all fields of `learnt`."""
    data = load_data(config, *learnt)
    from kerastransfer.data import derive, splits

    dataset, parts = data.dataset, dict(data.parts)
    for field in USEFUL:
        # Where it cannot be had, the studies that read it say so.
        with contextlib.suppress(UserError):
            dataset = derive.require(dataset, field)
            train, test = splits.split(dataset, data.rule, (field,))
            parts[field] = splits.fraction(train, config.fraction, config.seed), test
    for field in learnt:
        train, test = parts[field]
        parts[field] = train.having(*learnt), test
    return Data(dataset, data.rule, parts)


def require_fit(config: PairConfig, fits: Callable[["keras.Model"], None]) -> None:
    """Raises UserError, before anything is trained, for an encoder whose stride does not divide --image-size, and
    whatever `fits` raises for one of the encoders."""
    from kerastransfer.phases.pretext import require_size, start

    for encoder in [trained.encoder(path) for path in config.models] or [start(config)]:
        require_size(encoder, config)
        fits(encoder)


def encoders(config: PairConfig, run: RunFolder, data: Data, result: Outcome) -> dict[str, str | Path]:
    """{name: file} of the two models: --models, or --pretexts, which are trained on the same images."""
    if config.models:
        # They become parts of the names of files.
        plain = {
            re.sub(r"[^\w-]+", "_", name.removesuffix(".keras")).strip("_"): path
            for name, path in short_names(config.models).items()
        }
        return plain if len(plain) == len(config.models) else dict(zip("ab", config.models, strict=True))
    return {
        name: random_encoder(config, run)
        if name == RANDOM
        else pretext(name, pretexts.settings_of(name)(), config, run, data, result)
        for name in config.pretexts
    }

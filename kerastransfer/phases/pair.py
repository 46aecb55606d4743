"""A pair of encoders that learnt different things from the same images in equally many steps."""

import contextlib
import dataclasses
from pathlib import Path
from typing import ClassVar

from kerastransfer import pretexts
from kerastransfer.errors import UserError
from kerastransfer.phases.pretext import RANDOM, PretextConfig, pretext, random_encoder
from kerastransfer.phases.studies import StudiesConfig
from kerastransfer.runs import trained
from kerastransfer.runs.data import Data, load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.runs.short_names import short_names

# Fields that studies read where the data has them.
USEFUL = ("boxes", "segmentation", "label")


@dataclasses.dataclass
class PairConfig(StudiesConfig, PretextConfig):
    """The flags of recipes that study two encoders."""

    CHOSEN: ClassVar = {**PretextConfig.CHOSEN, **StudiesConfig.CHOSEN}

    models: tuple[str, ...] = ()
    """Two models: .keras files of encoders or whole models, or names of published weights (`kerastransfer presets`
    lists them); the first is the one that the claims are about. Without any, --pretexts are trained on the data."""
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


def load(config: PairConfig, *required: str) -> Data:
    """The images that have all of the `required` fields, and what else the studies read where it is there or follows
    from others."""
    data = load_data(config, *required)
    from kerastransfer.data import derive, splits

    dataset = data.dataset.having(*required)
    for field in USEFUL:
        # Where it cannot be derived, the studies that read it say so.
        with contextlib.suppress(UserError):
            dataset = derive.require(dataset, field)
    parts = {}
    for field in USEFUL:
        if dataset.having(field).samples:
            train, test = splits.split(dataset, data.rule, (field,))
            parts[field] = (splits.fraction(train, config.fraction, config.seed), test)
    return Data(dataset, data.rule, parts)


def encoders(config: PairConfig, run: RunFolder, data: Data, result: Outcome) -> dict[str, str | Path]:
    """{name: file} of the two models: --models, or --pretexts, which are trained on the same images."""
    if config.models:
        return short_names(config.models)
    return {
        name: random_encoder(config, run)
        if name == RANDOM
        else pretext(name, pretexts.settings_of(name)(), config, run, data, result)
        for name in config.pretexts
    }

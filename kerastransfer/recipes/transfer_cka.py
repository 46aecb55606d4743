"""How alike encoders are that learnt different things, by centred kernel alignment (CKA) on the same images.

    python -m kerastransfer.recipes.transfer_cka
    python -m kerastransfer.recipes.transfer_cka --data DIR --models RUN/models/conrec.keras yolov3-tiny mobilenet-v2

Without --models, pretexts are trained on the data first, and compared with random weights. The report has a heat map
and a table; metrics.json has the values (docs/transfer.md).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from kerastransfer import pretexts
from kerastransfer.analysis import representations
from kerastransfer.errors import UserError
from kerastransfer.phases import similarity
from kerastransfer.phases.pretext import RANDOM, PretextConfig, pretext, random_encoder, start
from kerastransfer.report.page import Section, Table
from kerastransfer.runs import command_line, grid, trained
from kerastransfer.runs.data import Data, load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.runs.short_names import short_names

LEAD = "Encoders were compared by what they make of the same test images."


@dataclasses.dataclass
class Config(PretextConfig):
    """Compare encoders by CKA."""

    TOY: ClassVar = {
        "image_size": 64,
        "width": 8,
        "pretexts": ["reconstruction", "segmentation", "detection"],
        "pretext_epochs": 6,
    }

    models: tuple[str, ...] = ()
    """Encoders, or models with an encoder, to compare: .keras files, or the names of published weights. Without any,
    --pretexts are trained."""
    pretexts: tuple[str, ...] = ("simclr", "reconstruction", "conrec", "detection")
    """Pretexts to train and compare, if there are no --models: simclr, reconstruction, conrec, conrec_one,
    segmentation, classification, detection."""
    taps: tuple[str, ...] = ()
    """Maps of the encoders to compare, such as c3 c4; by default the deepest of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for path in self.models:
            trained.require_encoder(path, "--models")
        if len(set(self.models)) < len(self.models):
            raise UserError("--models names a file twice; name each once")
        if len(self.models) == 1:
            raise UserError("--models has a single model; give two or more to compare")
        for name in self.pretexts:
            pretexts.pretext(name)
        if not self.models and not self.pretexts:
            raise UserError("there is nothing to compare; give --models or --pretexts")


def main(config: Config) -> dict:
    """Run the recipe; returns {"cka_MODEL": {"cka/OTHER": value}}."""
    return grid.over_seeds("transfer_cka", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    names = () if config.models else config.pretexts
    fields = dict.fromkeys(field for name in names for field in pretexts.pretext(name).FIELDS)
    data = load_data(config, *fields)
    from kerastransfer.data import splits

    _, test = splits.split(data.dataset, data.rule, ())
    if len(test) < representations.FEWEST:
        raise UserError(f"CKA needs {representations.FEWEST} test images, but there are {len(test)}; give more images")
    require_taps(config)
    result = Outcome(config, run, data, LEAD)
    given = {name.removesuffix(".keras"): path for name, path in short_names(config.models).items()}
    files = given or own_files(config, run, data, result)
    labels, values = similarity.similarity(files, test, config, run, taps=config.taps)
    result.figures.append(similarity.figure(labels, values))
    result.sections.append(section(labels, values))
    for row, label in enumerate(labels):
        others = {f"cka/{other}": values[row, column] for column, other in enumerate(labels) if other != label}
        closest = max(others.values())
        result.add(f"cka_{label}", {"closest": closest, **others}, {}, "closest", None, "beside")
    return result


def require_taps(config: Config) -> None:
    """Raises UserError, before anything is trained, for --taps that an encoder lacks."""
    for path in config.models if config.taps else ():
        representations.require_taps(path, trained.encoder(path), config.taps)
    if config.taps and not config.models:
        representations.require_taps(config.encoder, start(config), config.taps)


def own_files(config: Config, run: RunFolder, data: Data, result: Outcome) -> dict[str, Path]:
    """The files of --pretexts, which are trained, and of random weights."""
    files = {RANDOM: random_encoder(config, run)}
    for name in config.pretexts:
        files[name] = pretext(name, pretexts.settings_of(name)(), config, run, data, result)
    return files


def section(labels: Sequence[str], values: np.ndarray) -> Section:
    """The table of all pairs, and what is most and least alike."""
    table = Table(list(labels), [(name, list(map(float, row))) for name, row in zip(labels, values, strict=True)])
    rows, columns = np.triu_indices(len(labels), 1)
    most, least = (int(choose(values[rows, columns])) for choose in (np.argmax, np.argmin))

    def told(index):
        one, other = labels[rows[index]], labels[columns[index]]
        return f"{one} and {other} ({values[rows[index], columns[index]]:.2f})"

    return Section("CKA", [f"Most alike are {told(most)}, least alike {told(least)}."], [table])


if __name__ == "__main__":
    command_line.run(main, Config)

"""The arms of a comparison: what segmenters may start from, and which scenarios each makes possible."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kerastransfer import pretexts
from kerastransfer.errors import UserError
from kerastransfer.phases import finetune, pretext
from kerastransfer.phases.finetune import FinetuneConfig, Start
from kerastransfer.phases.pretext import RANDOM
from kerastransfer.runs import outcome, trained
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder


@dataclasses.dataclass
class ArmsConfig(FinetuneConfig):
    """The flags of recipes that compare pretexts."""

    pretexts: tuple[str, ...] = ("simclr", "reconstruction", "conrec")
    """Pretexts to train on the training images, whose labels are then not used, except for segmentation, classification
    and detection: simclr, reconstruction, conrec, conrec_one, segmentation, classification, detection."""
    pretext_data: str | None = None
    """Other data to train the pretexts on, which must not share images with --data."""
    pretext_files: tuple[str, ...] = ()
    """Pretexts that were trained before on the same encoder: RUN/models/PRETEXT.keras."""
    encoders: tuple[str, ...] = ()
    """Further encoders, each compared with random weights in its own architecture: .keras files, or the names of
    published weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.pretexts:
            pretexts.pretext(name)
        for path in self.pretext_files:
            trained.require_encoder(path, "--pretext-files")
        for path in self.encoders:
            trained.require_encoder(path, "--encoders")
        names = [*self.pretexts, *(Path(path).stem for path in (*self.pretext_files, *self.encoders))]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"two starts are called {twice}; rename one of the files, or leave one out")
        if RANDOM in names:
            raise UserError(f"a start is called {RANDOM}, as are random weights; rename the file")
        if self.pretext_data is not None and not self.pretexts:
            raise UserError("--pretext-data is for --pretexts, but there are none; leave it out")
        if self.pretext_data is not None and Path(self.pretext_data).resolve() == Path(self.data).resolve():
            raise UserError("--pretext-data is the same as --data; leave it out")
        if pretext.source(self) != "random weights":
            raise UserError(
                f"--encoder {self.encoder} has weights, so that a pretext's part in what they give could not be told; "
                "add --random to train pretexts from its architecture alone, or list it under --encoders"
            )
        if "segmentation" in self.pretexts and self.pretext_data is None:
            raise UserError(
                "--pretexts segmentation would learn from the very masks that are counted; give --pretext-data with "
                "other images, or leave it out"
            )


def pretext_files(config: ArmsConfig, run: RunFolder, data: Data, result: outcome.Outcome) -> dict[str, str]:
    """{name: file} of all pretexts, which are trained if they have no file."""
    found = {}
    # The share that is held out is one of the labelled images.
    own = dataclasses.replace(config, validation=0.0, early_stopping=0)
    for name in config.pretexts:
        settings = pretexts.settings_of(name)()
        found[name] = str(pretext.pretext(name, settings, own, run, data, result))
    return found | {Path(path).stem: path for path in config.pretext_files}


def fields(config: ArmsConfig) -> list[str]:
    """What the images must be annotated with for the pretexts."""
    return list(dict.fromkeys(field for name in config.pretexts for field in pretexts.pretext(name).FIELDS))


def require_files(config: ArmsConfig) -> None:
    """Raises UserError, before anything is trained, for a file of a pretext on another encoder, and for encoders whose
    stride does not divide --image-size."""
    for path in config.pretext_files:
        refuse_other_encoder(config, path)
    for path in config.encoders:
        pretext.require_size(pretext.opened(path), config)


def arms(config: ArmsConfig, files: dict[str, str]) -> list[Start]:
    """The starts, those of random weights first."""
    found = [Start(RANDOM, "random")]
    for name, path in files.items():
        scenarios = ("seg-enc", "seg-enc-dec") if finetune.has_decoder(path) else ("cls-enc",)
        found += [Start(name, scenario, path) for scenario in scenarios]
    for source in config.encoders:
        stem = Path(source).stem
        found += [Start(f"{RANDOM}_{stem}", "random", source), Start(stem, "cls-enc", source)]
    return found


def control(start: Start, starts: Sequence[Start]) -> Start | None:
    """What a start is compared with: random weights in the same architecture; None for these themselves."""
    if start.scenario == "random":
        return None
    twin = f"{RANDOM}_{start.name}"
    return next((other for other in starts if other.name == twin), starts[0])


def refuse_other_encoder(config: ArmsConfig, path: str) -> None:
    """Raises UserError if the encoder in a file of a pretext is not that of --encoder and --width."""
    from kerastransfer.training import transfer

    if not transfer.same_architecture(pretext.start(config), pretext.opened(path)):
        raise UserError(
            f"{path} has another encoder than --encoder {config.encoder} --width {config.width}; give those that it "
            "was trained with, or list it under --encoders"
        )

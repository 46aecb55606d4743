"""A U-Net trained on few masks, in one of four transfer scenarios.

    python -m kerastransfer.recipes.transfer_finetune
    python -m kerastransfer.recipes.transfer_finetune --pretext RUN/models/conrec.keras --scenario seg-enc --data DIR

The encoder of a pretext without a decoder is transferred (`cls-enc`), or of one with a decoder the encoder (`seg-enc`)
or both (`seg-enc-dec`); `random` transfers nothing. All of the network is trained on --labelled images, of which a part
is held out to choose the best weights. Without flags, a detector's head teaches the encoder on drawn
scenes first, and the U-Net is compared with random weights (docs/transfer.md).
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from kerastransfer import pretexts
from kerastransfer.errors import UserError
from kerastransfer.phases import pretext as pretext_phase
from kerastransfer.phases.finetune import FinetuneConfig, Start, finetune, labelled_data, numbers, refuse_other
from kerastransfer.phases.pretext import pretext
from kerastransfer.runs import command_line, grid, trained
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = "A U-Net was trained on few masks, from transferred weights and from random ones."


@dataclasses.dataclass
class Config(FinetuneConfig):
    """Train a U-Net on few masks, from transferred weights."""

    TOY: ClassVar = {
        "image_size": 64,
        "width": 8,
        "pretext": "detection",
        "scenario": "cls-enc",
        "pretext_epochs": 12,
        "finetune_steps": 300,
        "labelled": 24.0,
    }

    pretext: str | None = None
    """What to start from: a .keras file, such as RUN/models/conrec.keras, a detector's or an encoder's, or the name of
    published weights (`kerastransfer presets` lists them), whose encoder is then used in place of --encoder; or a
    pretext to train first on --encoder: simclr, reconstruction, conrec, conrec_one, classification or detection."""
    scenario: Literal["random", "cls-enc", "seg-enc", "seg-enc-dec"] = "random"
    """What to transfer: nothing (`random`), the encoder of a pretext without a decoder (`cls-enc`), or of a pretext
    with a decoder the encoder (`seg-enc`) or both (`seg-enc-dec`)."""
    labelled: float = 42.0
    """Number of labelled images to train on, or a share of the training images below 1."""
    control: bool = True
    """Also train from random weights, to compare with."""
    export: bool = True
    """Export SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labelled <= 0:
            raise UserError(f"--labelled is {self.labelled:g}; give a number of images, or a share of them below 1")
        if self.scenario == "random":
            if pretext_phase.source(self) != "random weights":
                raise UserError(
                    f"--scenario random takes the architecture of --encoder {self.encoder} without its weights; add "
                    f"--random to say so, or give --pretext {self.encoder} --scenario cls-enc"
                )
            return
        if not self.pretext:
            raise UserError(f"--scenario {self.scenario} transfers weights; give --pretext")
        if self.pretext == "segmentation":
            raise UserError(
                "--pretext segmentation would learn from the masks of all images; train it on other data with the "
                "recipe transfer_pretrain, and give its file"
            )
        if self.pretext not in pretexts.PRETEXTS:
            trained.require_encoder(self.pretext, "--pretext")
        elif (self.scenario == "cls-enc") == pretexts.pretext(self.pretext).DECODER:
            other = "seg-enc or seg-enc-dec" if self.scenario == "cls-enc" else "cls-enc"
            raise UserError(
                f"--scenario {self.scenario} is not possible with --pretext {self.pretext}; choose --scenario {other}"
            )


def main(config: Config) -> dict:
    """Run the recipe; returns {model: {metric: value}}."""
    return grid.over_seeds("transfer_finetune", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    source = None if config.scenario == "random" else config.pretext
    own = source in pretexts.PRETEXTS
    data = labelled_data(config, *(pretexts.pretext(source).FIELDS if own else ()))
    (labelled,) = numbers(data, (config.labelled,), config)
    result = Outcome(config, run, data, LEAD)
    if config.pretext and not source:
        result.say(f"--scenario random transfers nothing, so --pretext {config.pretext} is not used")
    if own:
        whole = dataclasses.replace(config, validation=0.0, early_stopping=0)
        source = str(pretext(source, pretexts.settings_of(source)(), whole, run, data, result))
    elif source:
        refuse_other(Start("transferred", config.scenario, source))
    common = (labelled, config, run, data, result)
    starts = [Start("unet", "random")]
    if source:
        starts = [Start(f"unet_{Path(source).stem}", config.scenario, source)]
        if config.control:
            # Random weights in the same architecture.
            starts.append(Start("unet_random", "random", source))
    for number, start in enumerate(starts):
        finetune(start.label, start, *common, role="control" if number else "subject")
    if len(starts) > 1:
        result.compare(*(start.label for start in starts))
    result.export(starts[0].label, *data.parts["segmentation"])
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

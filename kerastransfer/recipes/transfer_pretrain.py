"""A pretext: an encoder learns from images without labels, or from cheap ones, before it is transferred.

    python -m kerastransfer.recipes.transfer_pretrain
    python -m kerastransfer.recipes.transfer_pretrain --pretext conrec --data DIR --image-size 96
    python -m kerastransfer.recipes.transfer_finetune --pretext RUN/models/conrec.keras --scenario seg-enc --data DIR

SimCLR recognises another view of an image, the reconstruction restores altered images, ConRec does both; segmentation,
classification and detection learn from masks, labels and boxes. The recipe writes models/PRETEXT.keras, which holds
the encoder and, if one was trained, the decoder; how well the pretext is solved on test images; and pictures of what it
sees (docs/transfer.md).
"""

import dataclasses
from typing import ClassVar

from kerastransfer import pretexts
from kerastransfer.phases.pretext import PretextConfig, pretext
from kerastransfer.runs import command_line, fit_settings, grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.runs.settings import one_of

LEAD = "An encoder was trained on a pretext, to be transferred to segmentation."


@dataclasses.dataclass
class Config(PretextConfig):
    """Train an encoder on a pretext."""

    CHOSEN: ClassVar = {**fit_settings.TrainingConfig.CHOSEN, "task": ("pretext", pretexts.settings_of)}
    TOY: ClassVar = {"image_size": 64, "width": 8, "pretext_epochs": 12}

    pretext: str = "conrec"
    """What to learn: simclr, reconstruction, conrec (with four decoding tasks), conrec_one (with one), segmentation,
    classification or detection."""
    task: one_of(pretexts.SETTINGS) = None
    """Settings of --pretext."""


def main(config: Config) -> dict:
    """Run the recipe; returns {pretext: {term: value}}."""
    return grid.over_seeds("transfer_pretrain", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    data = load_data(config, *pretexts.pretext(config.pretext).FIELDS)
    result = Outcome(config, run, data, LEAD)
    pretext(config.pretext, config.task, config, run, data, result)
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

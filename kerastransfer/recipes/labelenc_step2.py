"""Step 2 of LabelEnc: a detector whose features a trained label encoder supervises.

    python -m kerastransfer.recipes.labelenc_step2 --labelenc RUN/models/labelenc.keras --data DIR/PennFudanPed

The detector begins with the head and the feature pyramid of step 1, and its features are drawn towards what the label
encoder makes of the boxes; in the last ninth of the training it learns on its own (docs/labelenc.md). Nothing of the
label encoder is left in the detector. --no-supervise and --no-initialise leave out one of the two.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from kerastransfer.errors import UserError
from kerastransfer.phases import labelenc
from kerastransfer.phases.labelenc import LabelEncConfig
from kerastransfer.recipes.labelenc_step1 import TOY
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = "A detector was trained while a label encoder supervised its features."


@dataclasses.dataclass
class Config(LabelEncConfig):
    """Train a detector with the label encoder of step 1, or train that first."""

    TOY: ClassVar = TOY

    labelenc: str | None = None
    """The file of step 1, RUN/models/labelenc.keras; by default step 1 is run first."""
    supervise: bool = True
    """Draw the features of the detector towards the codes of the label encoder."""
    initialise: bool = True
    """Begin with the head and the decoder of step 1."""
    export: bool = True
    """Export SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labelenc and not Path(self.labelenc).is_file():
            raise UserError(
                f"--labelenc {self.labelenc}: no such file; give RUN/models/labelenc.keras of labelenc_step1"
            )
        if not (self.supervise or self.initialise):
            raise UserError(
                "--no-supervise and --no-initialise leave nothing of the label encoder; leave out one of them"
            )


def main(config: Config) -> dict:
    """Run the recipe; returns {"detector": {metric: value}}, and the detector of step 1 if that was run."""
    return grid.over_seeds("labelenc_step2", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    data = load_data(config, *labelenc.fields(config))
    result = Outcome(config, run, data, LEAD)
    source = config.labelenc or labelenc.step1("labelenc", config, run, data, result)
    chosen = {"supervise": config.supervise, "initialise": config.initialise}
    labelenc.step2("detector", source, config, run, data, result, **chosen)
    result.export("detector", *labelenc.split(config, data))
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

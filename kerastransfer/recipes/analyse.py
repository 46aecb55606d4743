"""What did one model learn that another did not? Studies of any two encoders, detectors, segmenters or classifiers.

    python -m kerastransfer.recipes.analyse
    python -m kerastransfer.recipes.analyse --data DIR --models RUN/models/retinanet.keras RUN/models/classifier.keras
    python -m kerastransfer.recipes.analyse --data DIR --models yolov3-tiny mobilenet-v2 --study co_assignment mask_out

The studies are those of Li et al. 2019, "An Analysis of Pre-Training on Object Detection". Their features are compared
for any two models with an encoder; what they predict, for two models of one task. The first model is the one that the
claims are about. Without --models, an encoder learns to detect and another to classify on the data first. The report
has a section for each study, with its figures, and a table of all claims (docs/analysis.md).
"""

import dataclasses
from typing import ClassVar

from kerastransfer.analysis.material import Features
from kerastransfer.phases import compared, studies
from kerastransfer.phases.pair import PairConfig, encoders, load, require_fit, required
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = "Two models were compared by what they make of the same images."


@dataclasses.dataclass
class Config(PairConfig):
    """Compare what two models have learnt."""

    TOY: ClassVar = {"image_size": 128, "encoder": "small", "pretext_epochs": 12, "fraction": 0.5}


def main(config: Config) -> dict:
    """Run the recipe; returns {model: {metric: value}}."""
    return grid.over_seeds("analyse", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    # A pretext is an encoder and no more.
    kind = compared.kind(config.models) if config.models else None
    studies.require_possible(config, {Features, kind})
    data = load(config, *required(config))
    require_fit(config, lambda encoder: None)
    result = Outcome(config, run, data, LEAD)
    files = encoders(config, run, data, result)
    both = compared.Compared(files, {kind: files} if kind else {})
    studies.make(config, compared.sources(both, config, run, data, tap=config.tap), run, result)
    return result


if __name__ == "__main__":
    command_line.run(main, Config)

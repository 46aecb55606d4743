"""Models Genesis: a 3-D U-Net learns to restore deformed volumes, and then to segment a few labelled ones.

    python -m kerastransfer.recipes.genesis
    python -m kerastransfer.recipes.genesis --data DIR/Task04_Hippocampus --volumes 10 --seeds 0 1 2

The pretext needs no labels. Segmenters with the same few labelled volumes then begin with random weights, with the
encoder and the decoder of the pretext, or with its encoder alone, and the report compares them volume by volume and
seed by seed (docs/genesis.md). On drawn volumes this takes 4 minutes of processor time, which is too short a pretext to
gain much: Dice 0.634 from random weights, 0.656 from its encoder, 0.522 from its encoder and decoder (docs/results.md).
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap
from kerastransfer.phases import genesis
from kerastransfer.phases.genesis import GenesisConfig
from kerastransfer.report.page import Estimate, Figure, Section, Table
from kerastransfer.runs import command_line, grid, reporting
from kerastransfer.runs.data import Data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome


@dataclasses.dataclass
class Config(GenesisConfig):
    """Train a 3-D U-Net to restore volumes, then to segment them, in several scenarios."""

    TOY: ClassVar = {
        "batch_size": 2,
        "cube": [24, 32, 24],
        "width": 8,
        "volumes": 4,
        "pretext_epochs": 20,
        "segmenter_epochs": 80,
    }

    scenarios: tuple[Literal["random", "encoder-decoder", "encoder"], ...] = ("random", "encoder-decoder", "encoder")
    """Segmenters to train: from random weights, from the encoder and the decoder of the pretext, or from its encoder
    alone."""
    export: bool = True
    """Export LiteRT files, and check them against the Keras models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scenarios:
            raise UserError("--scenarios is empty; give encoder-decoder, and random to compare it with")


def main(config: Config) -> dict:
    """Run the recipe; returns {model: {metric: value}}."""
    return grid.over_seeds("genesis", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    from kerastransfer.data import volumes
    from kerastransfer.data.dataset import Dataset

    found = volumes.load(config.data, spacing=tuple(config.spacing))
    for note in found.notes:
        print(f"warning: {note}", file=sys.stderr)
    train, test = volumes.split(found)
    few = volumes.subset(train, config.volumes, config.seed)
    lead = (
        f"A 3-D U-Net learnt to restore {len(train)} deformed volumes without labels. Segmenters were trained on "
        f"{len(few)} labelled ones, and tested on {len(test)} others; an image is a volume here."
    )
    data = Data(Dataset(found.name, (), segmentation_classes=found.classes), "every fifth by name tests", {})
    result = Outcome(config, run, data, lead, summary=differences)
    pretrained = any(genesis.SCENARIOS[scenario] for scenario in config.scenarios)
    source = genesis.pretext(config, run, train) if pretrained else run.models
    names = [genesis.segmenter(one, source, config, run, few, test, result) for one in config.scenarios]
    for better in ("encoder_decoder", "encoder_only"):
        result.compare(better, "random")
    result.compare("encoder_decoder", "encoder_only")
    if run.leads:
        if pretrained:
            result.figures.append(restored(config, run, test))
        result.figures.append(segmented(names, config, run, test, result))
    if config.export:
        for name in names:
            genesis.export(name, config, run, test, result)
    if found.notes:
        result.sections.append(Section("The volumes", found.notes))
    return result


def restored(config: Config, run: RunFolder, test) -> tuple:
    """A figure of two test volumes as they are, deformed and restored."""
    from kerastransfer.report import volumes as pictures

    two = test.only(one.name for one in test.volumes[:2])
    picture = pictures.restored(genesis.restorations(config, run, two), [one.name for one in two.volumes])
    caption = "The middle of test volumes, with every kind of deformation at once, and what the pretext makes of it."
    return "restored", Figure("Restored volumes", caption, b""), picture


def segmented(names: Sequence[str], config: Config, run: RunFolder, test, result: Outcome) -> tuple:
    """A figure of the best, median and worst test volume of the last model."""
    from kerastransfer.report import volumes as pictures
    from kerastransfer.report.pictures import best_median_worst

    scores = {name: list(result.models[name].per_image.values()) for name in names}
    chosen = best_median_worst(np.array(scores[names[-1]]), each=1)
    rows = {kind: test.volumes[index] for kind, (index,) in chosen.items()}
    few = [test.only([one.name]) for one in rows.values()]
    picture = pictures.segmented(
        [one.image for one in rows.values()],
        [one.labels for one in rows.values()],
        {name: [genesis.predictions(name, config, run, one)[0] for one in few] for name in names},
        names=[f"{kind}: {one.name}" for kind, one in rows.items()],
        scores={name: [scores[name][index] for (index,) in chosen.values()] for name in names},
        spacings=[one.spacing for one in rows.values()],
    )
    caption = f"The best, the median and the worst test volume of {names[-1]}, cut through the middle of its labels."
    return "segmented", Figure("Segmented volumes", caption, b""), picture


def differences(each: Sequence[Outcome]) -> Section:
    """How far the scenarios are apart, over seeds and over test volumes."""
    rows = []
    for better, worse in each[0].pairs:
        seeds = Estimate(*reporting.difference(each, better, worse, "dice_mean"))
        over = [np.mean([[*one.models[name].per_image.values()] for one in each], axis=0) for name in (better, worse)]
        rows.append((f"{better} minus {worse}", [seeds, Estimate(*bootstrap.paired_difference(*over))]))
    text = (
        "Mean differences of Dice with 95 % intervals: over seeds, each of which draws weights, labelled volumes and "
        "cubes anew (Student's t; none for a single seed); and over the test volumes, by the bootstrap, for the seeds "
        "that were run.",
    )
    tables = [Table(["over seeds", "over test volumes"], rows, corner="difference")] if rows else []
    return Section("What was transferred, and what it gained", text if rows else ("Only one was trained.",), tables)


if __name__ == "__main__":
    command_line.run(main, Config)

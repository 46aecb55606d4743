"""Which part of a pretrained network is worth transferring: pretexts, scenarios, numbers of masks and seeds, compared.

    python -m kerastransfer.recipes.transfer_compare
    python -m kerastransfer.recipes.transfer_compare --data DIR --labelled 8 42 170 --seeds 0 1 2
        --pretexts simclr reconstruction conrec detection --encoders yolov3-tiny mobilenet-v2

Each pretext is trained once for each seed on all training images; then a U-Net is trained on few masks from each start
in each scenario that it makes possible, and from random weights. A run that was stopped continues with --resume, cell
by cell. The report has the Dice of all cells, paired tests over the seeds, corrected for their number, the curves, how
alike the encoders are (CKA), and a verdict (docs/transfer.md).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import ClassVar

from kerastransfer import pretexts
from kerastransfer.analysis import representations
from kerastransfer.errors import UserError
from kerastransfer.phases import similarity, transfer_curves, transfer_summary
from kerastransfer.phases.arms import ArmsConfig, arms, control, fields, pretext_files, require_files
from kerastransfer.phases.finetune import Start, finetune, labelled_data, numbers
from kerastransfer.phases.pretext import images
from kerastransfer.phases.transfer_summary import cell
from kerastransfer.report.page import Section
from kerastransfer.runs import command_line, grid
from kerastransfer.runs.data import Data, load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = (
    "U-Nets were trained on few masks, from encoders that had learnt different things before, and from random weights."
)


@dataclasses.dataclass
class Config(ArmsConfig):
    """Compare pretexts and transfer scenarios on few masks."""

    TOY: ClassVar = {
        "image_size": 64,
        "width": 8,
        "pretexts": ["reconstruction", "detection"],
        "pretext_epochs": 8,
        "labelled": [8.0, 24.0],
        "finetune_steps": 150,
    }

    labelled: tuple[float, ...] = (8.0, 42.0, 170.0)
    """Numbers of labelled images, or shares of the training images below 1."""
    export: bool = True
    """Export the best segmenter as SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.labelled or min(self.labelled) <= 0:
            raise UserError("--labelled needs numbers of images, or shares of them below 1, such as --labelled 8 42")
        if not (self.pretexts or self.pretext_files or self.encoders):
            raise UserError("there is nothing to compare; give --pretexts, --pretext-files or --encoders")


def main(config: Config) -> dict:
    """Run the recipe; returns {cell: {metric: value}}."""
    return grid.over_seeds("transfer_compare", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    data = labelled_data(config, *([] if config.pretext_data else fields(config)))
    counts = numbers(data, config.labelled, config)
    require_files(config)
    result = Outcome(config, run, data, LEAD)
    source = data
    if config.pretext_data:
        # --format, --classes and --merge are for --data.
        other = {"data": config.pretext_data, "format": "auto", "classes": (), "merge": ()}
        source = load_data(dataclasses.replace(config, **other), *fields(config))
    starts = arms(config, pretext_files(config, run, source, result))
    steps = {}
    for count in counts:
        for start in starts:
            # The report shows the masks of subjects, and their scores at the top.
            few = "subject" if count == counts[0] else "beside"
            role = "control" if start.scenario == "random" else few
            name = cell(start.label, count)
            steps[name] = finetune(name, start, count, config, run, data, result, role=role)
    train, test = data.parts["segmentation"]
    if len(test) >= representations.FEWEST:
        files = {start.label: run.models / f"{cell(start.label, counts[-1])}.keras" for start in starts}
        result.figures.append(similarity.figure(*similarity.similarity(files, test, config, run)))
    else:
        result.say(f"CKA is left out: it needs {representations.FEWEST} test images, and there are {len(test)}")
    result.summary = functools.partial(came_of_it, starts, counts, steps, labels_learnt(config, source))
    largest = [cell(start.label, counts[-1]) for start in starts]
    result.export(max(largest, key=lambda name: result.models[name].metrics["dice_mean"]), train, test)
    return result


def came_of_it(
    starts: Sequence[Start],
    counts: Sequence[int],
    steps: Mapping[str, int],
    notes: Sequence[str],
    each: Sequence[Outcome],
) -> Section:
    """The tables, the curves, and the verdict."""
    labels = [start.label for start in starts]
    controls = {start.label: control(start, starts).label for start in starts if start.scenario != "random"}
    found = transfer_summary.scores(each, labels, counts)
    made = transfer_summary.claims(found, pairs(starts, controls), counts)
    drawn = [transfer_curves.against_labels(found, labels, counts)] if len(counts) > 1 else []
    drawn += [transfer_curves.against_steps(each, labels, count, steps) for count in (counts[0],)]
    tables = transfer_summary.tables(found, labels, counts, made)
    tables.append(transfer_curves.speed(each, labels, counts, steps))
    text = [*transfer_summary.verdict(found, labels, counts, controls, made), *notes]
    return Section("Which encoder", text, tables, [figure for figure in drawn if figure])


def labels_learnt(config: Config, data: Data) -> list[str]:
    """What pretexts cost that learn from annotations of all training images."""
    return [
        f"{name} learnt from the {' and '.join(pretexts.pretext(name).FIELDS)} of all "
        f"{len(images(data, name, config)[0])} training images of its data, which somebody has to annotate as well."
        for name in config.pretexts
        if pretexts.pretext(name).FIELDS
    ]


def pairs(starts: Sequence[Start], controls: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is tested: each start against random weights; encoders of pretexts with a decoder against those without; and
    what the decoder adds."""
    against = list(controls.items())
    own = [start for start in starts if start.label in controls]
    for start in own:
        if start.scenario == "seg-enc":
            others = (other for other in own if other.scenario == "cls-enc")
            against += [(start.label, other.label) for other in others]
        if start.scenario == "seg-enc-dec":
            against.append((start.label, Start(start.name, "seg-enc").label))
    names = {start.name for start in own}
    if {"conrec", "conrec_one"} <= names:
        against.append((Start("conrec", "seg-enc-dec").label, Start("conrec_one", "seg-enc-dec").label))
    return against


if __name__ == "__main__":
    command_line.run(main, Config)

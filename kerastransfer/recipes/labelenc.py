"""LabelEnc, whole: both steps, and the baselines that it is compared with, over seeds.

    python -m kerastransfer.recipes.labelenc
    python -m kerastransfer.recipes.labelenc --net.encoder mobilenet-v2 --data DIR/BCCD --seeds 0 1 2

A label encoder is trained together with a detector's head (step 1); then it supervises the features of a new detector,
which begins with that head (step 2). By default that detector is compared with the same one trained for as long as step
2 and for twice as long. The report has the differences with their intervals over the seeds, and pictures of the
features (docs/labelenc.md).
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.phases import labelenc, labelenc_features
from kerastransfer.phases.labelenc import LabelEncConfig
from kerastransfer.recipes.labelenc_step1 import TOY
from kerastransfer.report.page import Section
from kerastransfer.runs import command_line, grid, reporting, trained
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

LEAD = "Detectors were trained with a label encoder that supervised their features, and without."
# What a method leaves of step 2.
LEFT = {
    "labelenc": {},
    "supervision": {"initialise": False},
    "initialisation": {"supervise": False},
    "reconstruction": {},
}


@dataclasses.dataclass
class Config(LabelEncConfig):
    """Train detectors with LabelEnc and without, and compare them."""

    TOY: ClassVar = TOY

    methods: tuple[
        Literal["1x", "2x", "labelenc", "reconstruction", "supervision", "initialisation", "distillation"], ...
    ] = ("1x", "2x", "labelenc")
    """What to train: a detector alone for --detector-epochs (`1x`) and for twice as many (`2x`); LabelEnc (`labelenc`);
    LabelEnc with a label encoder that only learnt to reconstruct boxes (`reconstruction`); with its supervision alone,
    or its initial weights alone (`supervision`, `initialisation`); or supervised by the features of a trained detector
    instead, that of `1x` or of --teacher (`distillation`)."""
    teacher: str | None = None
    """With `distillation`, the teacher in place of the detector of `1x`: a detector's .keras file, such as one with a
    larger encoder, whose head reads maps of the same levels and channels."""
    initialise_from_teacher: bool = False
    """With `distillation`, begin with the teacher's head and decoder."""
    export: bool = True
    """Export the best method's detector as SavedModel and LiteRT files, and check them against the Keras model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.methods:
            raise UserError("--methods is empty; give labelenc, and 1x to compare it with")
        if "distillation" in self.methods and "1x" not in self.methods and not self.teacher:
            raise UserError("--methods distillation needs a teacher; add 1x, or give --teacher")
        if self.teacher:
            trained.require(self.teacher, "--teacher")
        if "distillation" not in self.methods and (self.teacher or self.initialise_from_teacher):
            flag = "--teacher" if self.teacher else "--initialise-from-teacher"
            raise UserError(f"{flag} is for distillation only; add it to --methods")


def main(config: Config) -> dict:
    """Run the recipe; returns {method: {metric: value}}."""
    return grid.over_seeds("labelenc", config, once)


def once(config: Config, run: RunFolder) -> Outcome:
    """One seed."""
    data = load_data(config, *labelenc.fields(config))
    result = Outcome(config, run, data, LEAD, summary=came_of_it)
    common = (config, run, data, result)
    from_teacher = {"initialise": config.initialise_from_teacher}
    if config.teacher:
        labelenc.require_teacher(config.teacher, config, run, data, **from_teacher)
    for name, factor in (("1x", 1), ("2x", 2)):
        if name in config.methods:
            labelenc.plain(name, factor * config.detector_epochs, *common)
    if {"labelenc", "supervision", "initialisation"} & set(config.methods):
        labelenc.step1("label_encoder", *common)
    if "reconstruction" in config.methods:
        labelenc.step1("reconstructor", *common, image=False)
    for name in LEFT:
        if name in config.methods:
            source = "reconstructor" if name == "reconstruction" else "label_encoder"
            labelenc.step2(name, run.models / f"{source}.keras", *common, **LEFT[name])
    if "distillation" in config.methods:
        labelenc.distilled("distillation", config.teacher or run.models / "1x.keras", *common, **from_teacher)
    compare(result)
    if {"1x", "labelenc"} <= set(config.methods) and run.leads:
        detectors = {name: run.models / f"{name}.keras" for name in ("1x", "labelenc")}
        result.figures.append(labelenc_features.figure(detectors, run.models / "label_encoder.keras", config, data))
    result.export("labelenc" if "labelenc" in config.methods else config.methods[0], *labelenc.split(config, data))
    return result


def compare(result: Outcome) -> None:
    """Have the report compare each method with detectors that were trained without a label encoder."""
    # The detector that learnt beside the label encoder is step 1 alone.
    for name in (*LEFT, "distillation", "label_encoder_detector"):
        for other in ("1x", "2x"):
            result.compare(name, other)


def came_of_it(each: Sequence[Outcome]) -> Section:
    """What came of it, in words."""
    pairs = [pair for pair in each[0].pairs if pair[0] == "labelenc"]
    text = [sentence(each, *pair) for pair in pairs] or ["LabelEnc was not compared with a detector that lacks it."]
    return Section("What came of it", text)


def sentence(each: Sequence[Outcome], better: str, worse: str) -> str:
    """Whether one method is ahead of another in AP, as far as the seeds tell."""
    mean, low, high = (100 * value for value in reporting.difference(each, better, worse, "AP"))
    found = f"{better} minus {worse}: {mean:+.1f} points of AP"
    if np.isnan(low):
        return f"{found}, of one seed; several (--seeds 0 1 2) tell how much of that is chance."
    told = "is ahead" if low > 0 else "is behind" if high < 0 else "is neither ahead nor behind, as far as they tell"
    return f"{found} over {len(each)} seeds, with a 95 % interval from {low:+.1f} to {high:+.1f}: {better} {told}."


if __name__ == "__main__":
    command_line.run(main, Config)

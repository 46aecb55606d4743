"""Studies of two models, as sections, figures and claims of the report (`analysis.studies`)."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from kerastransfer import files
from kerastransfer.analysis import studies
from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.material import Material
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap
from kerastransfer.progress import bar
from kerastransfer.report.page import Estimate, Figure, Section, Table
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome
from kerastransfer.runs.settings import CommonConfig, variable


def _settings(name: str, data: str) -> type:
    return studies.study(name).Settings


# How a study is called among the phases of a run.
PHASE = "study_{}"
# Differences over seeds that do not depend on the seed, such as those of published encoders, differ by rounding.
SAME = 1e-9
VERDICT = {True: "held", False: "did not hold", None: "undecided"}
# {kind of material: a function that gathers it}; or, instead, why there is none.
Sources = Mapping[type[Material], Callable[[], Material] | str]


@dataclasses.dataclass
class StudiesConfig(CommonConfig):
    """The flags of recipes that make studies."""

    # Nothing chooses them, but every field has another that does, and --data has a default of the right type.
    CHOSEN: ClassVar = {name: ("data", functools.partial(_settings, name)) for name in studies.STUDIES}

    study: tuple[str, ...] = variable(())
    """Studies to make: detection, occlusion, errors, segmentation, trimap, classification, probes, co_assignment,
    nearest, embedding, activation, mask_out. By default all that the models and the data make possible."""
    all_unseen: bool = False
    """The models have not learnt from this data, so training images are studied too where nothing is fitted to them:
    for published weights, and for models of other data."""
    tap: str | None = None
    """Map of the encoders to study, such as c4; by default the deepest of each. Maps of different width can be
    compared."""
    detection: studies.detection.Settings = variable(None)
    """Settings of the study detection."""
    occlusion: studies.occlusion.Settings = variable(None)
    """Settings of the study occlusion."""
    errors: studies.detection_errors.Settings = variable(None)
    """Settings of the study errors."""
    segmentation: studies.segmentation.Settings = variable(None)
    """Settings of the study segmentation."""
    trimap: studies.trimap.Settings = variable(None)
    """Settings of the study trimap."""
    classification: studies.classification.Settings = variable(None)
    """Settings of the study classification."""
    probes: studies.image_probes.Settings = variable(None)
    """Settings of the study probes."""
    co_assignment: studies.co_assignment.Settings = variable(None)
    """Settings of the study co_assignment."""
    nearest: studies.nearest.Settings = variable(None)
    """Settings of the study nearest."""
    embedding: studies.embedding.Settings = variable(None)
    """Settings of the study embedding."""
    activation: studies.activation.Settings = variable(None)
    """Settings of the study activation."""
    mask_out: studies.mask_out.Settings = variable(None)
    """Settings of the study mask_out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Their own flags are spelt with a hyphen.
        self.study = tuple(name.replace("-", "_") for name in self.study)
        chosen(self)


def chosen(config: StudiesConfig) -> dict[str, Any]:
    """{study: its settings} of --study, or of all studies, in the order of the table. Raises UserError for an unknown
    name, and for one that is named twice."""
    for name in config.study:
        studies.study(name)
    if len(set(config.study)) < len(config.study):
        raise UserError(f"--study {' '.join(config.study)} names a study twice; name each once")
    return {name: getattr(config, name) for name in studies.STUDIES if name in config.study or not config.study}


def needs(config: StudiesConfig) -> set[type[Material]]:
    """What the studies of a run read."""
    return {studies.study(name).NEEDS for name in chosen(config)}


def require_possible(config: StudiesConfig, kinds: Collection[type[Material]]) -> None:
    """Raises UserError, before anything is trained, for a study that --study names and that reads another kind of
    material than the run will have."""
    for name in config.study:
        if studies.study(name).NEEDS not in kinds:
            raise UserError(
                f"--study {name} needs models that this run does not have or train; docs/analysis.md has a "
                "table of what each study compares"
            )


def make(config: StudiesConfig, sources: Sources, run: RunFolder, result: Outcome) -> None:
    """Make the studies; their sections and numbers join the outcome. A study that has been made is not made again.

    sources: what there is to study. Material is gathered when the first study needs it. Raises UserError for a study
    that --study names and that cannot be made; others are left out, and the report says why.
    """
    gather = functools.cache(lambda kind: sources[kind]())
    made = {}
    for name, settings in chosen(config).items():
        work = functools.partial(_work, name, settings, sources, gather, run, result)
        made[name] = run.phase(PHASE.format(name), work)
        if reason := made[name].get("left_out"):
            result.say(f"{name} is left out: {reason}")
    numbers: dict[str, dict[str, float]] = {}
    for name, found in made.items():
        result.sections.append(_section(name, found, run))
        for model, values in found.get("numbers", {}).items():
            own = {metric if metric.startswith(f"{name}/") else f"{name}/{metric}": v for metric, v in values.items()}
            numbers.setdefault(model, {}).update(own)
    for model, values in numbers.items():
        if not values:
            continue
        if model in result.models:
            result.models[model].metrics |= {key: np.nan if v is None else v for key, v in values.items()}
        else:
            result.add(model, values, {}, next(iter(values)), None, "beside")
    if run.leads:
        write_claims(run)
    result.summary = summary


def summary(each: Sequence[Outcome]) -> Section:
    """All claims with what was measured, and whether they held; over several seeds by Student's t."""
    claims = [_claims(outcome.run) for outcome in each]
    rows = []
    for key in dict.fromkeys(key for one in claims for key in one):
        same = [one[key] for one in claims if key in one]
        first, remark = same[0], ""
        values = np.array([claim.difference.value for claim in same], np.float64)
        if len(same) > 1 and np.ptp(values) > SAME:
            estimate = Estimate(*bootstrap.difference_over_seeds(values, np.zeros_like(values)))
            first = dataclasses.replace(first, difference=estimate)
        elif len(each) > 1:
            remark = " (equal for all seeds: interval over images)" if len(same) > 1 else " (one seed alone)"
        rows.append((first.text, [first.measured, first.difference, VERDICT[first.held] + remark]))
    if not rows:
        return Section("Claims", ["No study was made that measures a claim."])
    over = "the seeds" if len(each) > 1 else "the test images, or as the section of the study says"
    text = [
        "Each claim of Li et al. 2019 as a difference that is above zero if the claim is true, with its 95 % interval "
        f"over {over}. A claim held if the whole interval is above zero, did not hold if none of it is, and is "
        "undecided otherwise."
    ]
    if len(each) == 1:
        text.append(
            "Such an interval does not say how much the difference changes when the same models are trained again, "
            "which may be more: the recipe `pretraining` with --seeds 0 1 2 measures that."
        )
    return Section("Claims", text, [Table(["measured", "difference", "claim"], rows, corner="claim of the paper")])


def _work(
    name: str,
    settings: Any,
    sources: Sources,
    gather: Callable[[type], Material],
    run: RunFolder,
    result: Outcome,
) -> dict[str, Any]:
    """Make a study; returns what JSON can hold. Its figures are written to figures/."""
    from kerastransfer.report import style

    module = studies.study(name)
    try:
        if isinstance(sources[module.NEEDS], str):
            raise LeftOut(sources[module.NEEDS])
        material = gather(module.NEEDS)
        result.say(f"study: {name}")
        found: Findings = module.study(settings, material, bar(None if result.config.quiet else name))
    except LeftOut as reason:
        # What was asked for by name is not left out without a word.
        if result.config.study:
            raise UserError(f"--study {name}: {reason}") from None
        return {"left_out": str(reason)}
    except UserError as error:
        rest = "run again with --resume, and other settings or other studies (--study)"
        raise UserError(f"study {name}: {error} ({rest})") from None
    figures = []
    for stem, figure, picture in found.figures:
        style.save(picture, run.figures / f"{stem}.png")
        figures.append({"stem": stem, "title": figure.title, "caption": figure.caption, "chart": figure.chart})
    written = dataclasses.asdict(dataclasses.replace(found, figures=[]))
    return written | {"figures": figures}


def _section(name: str, found: Mapping[str, Any], run: RunFolder) -> Section:
    if reason := found.get("left_out"):
        return Section(studies.study(name).TITLE, [f"Left out: {reason}."])
    tables = [
        Table(
            one["columns"],
            [(row, list(map(_number, values))) for row, values in one["rows"]],
            one["title"],
            one["corner"],
        )
        for one in found["tables"]
    ]
    figures = [
        Figure(one["title"], one["caption"], run.figures / f"{one['stem']}.png", one["chart"])
        for one in found["figures"]
    ]
    return Section(found["title"], found["text"], tables, figures)


def _claims(run: RunFolder) -> dict[tuple[str, str], Claim]:
    """{(study, its text): the claim} of the finished studies of a run."""
    found = {}
    for name in studies.STUDIES:
        result = run.phases.get(PHASE.format(name), {}).get("result", {})
        for claim in result.get("claims", []):
            # What was measured may be called after what came out best.
            found[name, claim["text"]] = Claim(**claim | {"difference": _number(claim["difference"])})
    return found


def _number(value: Any) -> Any:
    """A number, estimate or text of a table, from JSON."""
    return Estimate(**value) if isinstance(value, dict) else value


def write_claims(run: RunFolder) -> None:
    """claims.json: for each claim its study, text, difference with interval, and whether it held."""
    rows = [
        {"study": study, "claim": claim.text, "measured": claim.measured, **dataclasses.asdict(claim.difference)}
        | {"held": claim.held}
        for (study, _), claim in _claims(run).items()
    ]
    files.write_json(run.path / "claims.json", rows)

"""Advice on encoders for a user's data: from names to numbers, sentences, a JSON file and a page."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastransfer import files, presets
from kerastransfer.errors import UserError
from kerastransfer.flags import some
from kerastransfer.runs import trained
from kerastransfer.runs.command_line import import_keras

if TYPE_CHECKING:
    import keras

    from kerastransfer.analysis.advice import Advice
    from kerastransfer.data.dataset import Dataset

PROBE = (
    "The probe is a linear classifier on the frozen features of each pixel, scored on photos that it was not fitted "
    "to. Encoders are ordered by how well it tells the classes of a photo apart (AUC: 1 is perfect, 0.5 is chance). A "
    "trained decoder reaches a higher dice, so read the order, and not the height."
)
COLUMNS = ("AUC", "dice", "± over folds", "LogME", "H-score", "ms an image", "M weights")


def require(encoders: Sequence[str]) -> None:
    """Raises UserError, before anything is read, unless these are different files, names of published weights, or names
    of encoders with random weights."""
    if not encoders:
        raise UserError(f"--encoders needs names or files; give some of {', '.join(presets.PRESETS)}, or .keras files")
    seen: dict[str, str] = {}
    for name in encoders:
        key = str(Path(name).resolve()) if Path(name).exists() else name
        if key in seen:
            raise UserError(f"--encoders names {name} twice; give each encoder once")
        seen[key] = name
        known = not trained.is_name(name) or name in presets.PRESETS or name.startswith(presets.HUB)
        if known or name not in random_encoders():
            trained.require_encoder(name, "--encoders")


def random_encoders() -> "dict[str, Callable[[], keras.Model]]":
    """The encoders with random weights, by name."""
    import_keras()
    from kerastransfer.encoders import ENCODERS

    return ENCODERS


def load(data: str, format: str, **chosen: Any) -> "Dataset":
    """The data set, with a segmentation where one follows from masks; without any, as it is. chosen: `classes`, `merge`
    and `allow_outside`, as for `datasets.load`."""
    from kerastransfer.data import datasets, derive

    dataset = datasets.load(data, format, progress=True, **chosen)
    if not {"segmentation", "masks"}.isdisjoint(field for sample in dataset.samples for field in sample.fields):
        return derive.require(dataset, "segmentation")
    return dataset


def opener(name: str) -> "Callable[[], keras.Model]":
    """A function that opens an encoder: a file, or a name that `require` accepts."""
    made = random_encoders().get(name)
    return made or (lambda: trained.encoder(name))


def rows(advice: "Advice") -> list[tuple[str, list[float | None]]]:
    """A row of numbers for each encoder, under COLUMNS; None where there were no masks."""
    found = []
    for one in advice.encoders:
        scores = [None] * 5
        if one.probed:
            scores = [one.auc, one.dice, float(np.nanstd(one.probed.by_fold, ddof=1)), one.logme, one.h_score]
        found.append((one.name, [*scores, one.milliseconds, one.parameters / 1e6]))
    return found


def sentences(advice: "Advice") -> list[str]:
    """The advice in words: the first encoder and how sure that is, likeness, masks needed, photos to annotate."""
    names = [one.name for one in advice.encoders]
    told = [_first(advice, names)]
    told += _alike(advice, names)
    if advice.curve:
        told.append(_needed(advice, names[0]))
    if advice.photos:
        where = "and where the probe is in doubt" if advice.doubted else "(without a mask nothing can be in doubt yet)"
        told.append(
            f"Annotate next, spread over what {names[0]} sees in the photos {where}: {', '.join(advice.photos)}."
        )
    return told


def plain(advice: "Advice", data: str, given: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The advice as values for a JSON file; given: what each encoder was given as, by its short name."""
    encoders = [
        {
            "name": one.name,
            "encoder": given[one.name],
            "auc": one.auc,
            "dice": one.dice,
            "dice_of_folds": one.probed.by_fold if one.probed else [],
            "logme": one.logme,
            "h_score": one.h_score,
            "milliseconds": one.milliseconds,
            "parameters": one.parameters,
            "behind_first": dict(zip(("mean", "low", "high"), advice.ahead[one.name], strict=True))
            if one.name in advice.ahead
            else None,
        }
        for one in advice.encoders
    ]
    names = [one.name for one in advice.encoders]
    curve = advice.curve and {
        "target_dice": advice.curve.target,
        "masks": advice.curve.sizes,
        "dice": advice.curve.dice.mean(axis=0),
        "power_law": {
            "scale": advice.curve.law.scale,
            "exponent": advice.curve.law.exponent,
            "floor": advice.curve.law.floor,
        },
        # Infinity becomes null: the fitted curve levels off before.
        "masks_needed": advice.curve.needed.masks,
        "masks_needed_interval": [advice.curve.needed.low, advice.curve.needed.high],
    }
    return {
        "data": data,
        **settings,
        "masks_used": advice.masks,
        "encoders": encoders,
        "cka": [[advice.alike[one, other] for other in names] for one in names],
        "curve": curve,
        "photos": list(advice.photos),
        "advice": sentences(advice),
    }


def write_page(advice: "Advice", dataset: "Dataset", path: Path, command: str, settings: Mapping[str, Any]) -> None:
    """Write the page: the table, the differences, the chart of dice against masks, and the CKA of all pairs."""
    from kerastransfer.report import figures as drawings
    from kerastransfer.report import page, style

    names = [one.name for one in advice.encoders]
    first, *rest = sentences(advice)
    comparisons = [
        page.Comparison(names[0], name, "AUC of the probe", page.Estimate(*values))
        for name, values in advice.ahead.items()
    ]
    likeness = np.array([[advice.alike[one, other] for other in names] for one in names])
    figures = [
        page.Figure(
            "How alike the encoders are",
            "CKA of their features of the same pixels: 1 if they are equal up to rotation and scale, 0 if they have "
            "nothing in common.",
            style.png(drawings.similarity(likeness, names)),
            chart=True,
        )
    ]
    if advice.curve:
        figures.insert(0, _chart(advice, names[0]))
    page.write_page(
        path,
        page.Page(
            title=f"Advice before training: {dataset.name}",
            lead=first,
            facts={"Data": dataset.name, "Photos": len(dataset), "Photos with a mask that were used": advice.masks},
            settings=settings,
            command=command,
            sections=[
                page.Section(
                    "Encoders",
                    [*rest, PROBE] if advice.masks else rest,
                    [page.Table(list(COLUMNS), rows(advice), corner="Encoder")],
                )
            ],
            comparisons=comparisons,
            figures=figures,
            left_out=[(bad.name, bad.reason) for bad in dataset.bad],
        ),
    )


def write_json(advice: "Advice", path: Path, data: str, given: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Write the numbers. given: what each encoder was given as, by its short name (`labels`)."""
    files.write_json(path, plain(advice, data, given, settings))


def _chart(advice, name):
    from kerastransfer.report import advice as charts
    from kerastransfer.report import page, style

    curve = advice.curve
    end = curve.sizes.max() * charts.SHOWN
    if math.isfinite(curve.needed.masks):
        end = max(curve.sizes.max() * 2, 1.5 * curve.needed.masks)
    masks = np.geomspace(curve.sizes.min(), end, 100)
    low, high = curve.law.interval(masks)
    chart = charts.dice_against_masks(
        curve.sizes,
        curve.dice,
        masks,
        (1 - curve.law.error(masks), 1 - high, 1 - low),
        target=curve.target,
        needed=curve.needed.masks,
    )
    caption = (
        f"A probe on {name}, fitted to nested subsets of the masks and scored on other photos, {len(curve.dice)} "
        "times, and the power law through the means."
    )
    return page.Figure("Dice against masks", caption, style.png(chart), chart=True)


def _first(advice, names):
    if not advice.masks:
        return (
            "No photo has a mask, so nothing is said of which encoder segments best; cost, likeness, and which photos "
            f"to annotate first, seen by {names[0]}, can be told."
        )
    auc = advice.encoders[0].auc
    if len(names) == 1:
        return f"{names[0]}: AUC {auc:.3f} with a probe on {advice.masks} masks; a single encoder has no rival."
    apart = {name: values for name, values in advice.ahead.items() if values[1] > 0}
    near = [name for name in names[1:] if name not in apart]
    told = f"Take {names[0]}: AUC {auc:.3f} within a photo, with a probe on {advice.masks} masks"
    if not near:
        second, (mean, low, high) = next(iter(apart.items()))
        return f"{told}, {mean:.3f} ahead of {second} (95 % interval {low:.3f} to {high:.3f}), and ahead of all others."
    told += f"; but it cannot be told apart from {some(near)} with so few masks"
    one = advice.encoders[0]
    cheaper = [other for other in advice.encoders if other.name in near and other.milliseconds < 0.7 * one.milliseconds]
    if cheaper:
        fast = min(cheaper, key=lambda other: other.milliseconds)
        told += f", of which {fast.name} takes {fast.milliseconds:.1f} in place of {one.milliseconds:.1f} ms an image"
    return told + "."


def _alike(advice, names):
    from kerastransfer.analysis.advice import ALIKE

    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    return [
        f"{one} and {other} see nearly the same in these photos (CKA {advice.alike[one, other]:.2f}): one will do."
        for one, other in pairs
        if advice.alike[one, other] >= ALIKE
    ]


def _needed(advice, name):
    curve, needed = advice.curve, advice.curve.needed
    of = f"dice {curve.target:g} with a probe on {name}"
    if math.isinf(needed.masks):
        told = f"{of} is beyond the fitted curve, which levels off at {1 - curve.law.floor:.3f}"
        if math.isfinite(needed.low):
            told += f"; at the best end of its interval {needed.low:.0f} masks would do"
        return f"{told[0].upper()}{told[1:]}."
    above = f"{needed.high:.0f}" if math.isfinite(needed.high) else "never"
    return f"{of[0].upper()}{of[1:]} takes about {needed.masks:.0f} masks (95 % interval {needed.low:.0f} to {above})."

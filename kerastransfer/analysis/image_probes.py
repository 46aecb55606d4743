"""Linear probes of whole images: what a linear classifier makes of the frozen features of two encoders (Li et al. 2019,
section 4.4, tables 6 and 7).

A probe (`analysis.linear_classifier`) is fitted to pooled features, and to maps that are pooled to fewer and fewer
places, down to one.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.linear_classifier import Rows, Settings, adaptive_average, fitted, split
from kerastransfer.analysis.material import Features, pair
from kerastransfer.flags import some
from kerastransfer.metrics import bootstrap

TITLE = "Linear probes"
NEEDS = Features
# Sides that maps are pooled to, besides their own.
SIDES = (4, 2, 1)


def ladder(maps: np.ndarray, heads: Mapping[str, np.ndarray], pooled: np.ndarray) -> dict[str, Callable]:
    """What is probed of a model, {name: a function that gives features (N, D)}: the pooled map; the head's projected
    map as it is and pooled to fewer places, and what follows it; of a model without a head its own deepest map."""
    found: dict[str, Callable] = {"pooled": lambda: pooled}
    name, own = ("proj", heads["proj"]) if "proj" in heads else ("map", maps)
    height, width = own.shape[1:3]
    found[f"{name} {height}x{width}"] = lambda: own.reshape(len(own), -1)
    for side in SIDES:
        if side < min(height, width):
            found[f"{name} {side}x{side}"] = lambda side=side: adaptive_average(own, side).reshape(len(own), -1)
    if name == "map":
        # The mean over all places, which is probed already, from before it was rounded.
        found.pop("map 1x1", None)
    return found | {layer: lambda layer=layer: heads[layer] for layer in heads if layer != "proj"}


def study(settings: Settings, material: Features, progress: Callable[[Iterable], Iterable] = iter) -> Findings:
    """Fit and test the probes of both models. Raises LeftOut without labels, or for fewer than two classes that have a
    training and a test image; UserError as `fitted` does."""
    if material.labels is None:
        raise LeftOut("the images have no labels; give data for classification")
    parts = split(material.labels, material.train)
    first, second = pair(material.pooled)
    probed = {
        model: ladder(material.maps[model], material.heads[model], material.pooled[model]) for model in (first, second)
    }
    right: dict[str, dict[str, np.ndarray]] = {first: {}, second: {}}
    columns: dict[str, dict[str, tuple[int, float]]] = {first: {}, second: {}}
    for model, name in progress([(model, name) for model, of_model in probed.items() for name in of_model]):
        features = probed[model][name]()
        labels, num_classes = parts.labels[parts.train], len(parts.classes)
        probe = fitted(Rows(features, parts.train), labels, num_classes, settings, of=f"{model} ({name})")
        found = probe.logits(Rows(features, parts.test)).argmax(axis=1)
        right[model][name] = (found == parts.labels[parts.test]).astype(float)
        columns[model][name] = features.shape[1], probe.strength
    return _findings(material, parts, right, columns)


def _findings(material, parts, right, columns):
    from kerastransfer.report.page import Estimate, Figure, Table

    first, second = right
    findings = Findings(TITLE, text=[_said(material, parts)])
    for model, probes in right.items():
        findings.numbers[model] = {
            **{f"accuracy/{name}": float(values.mean()) for name, values in probes.items()},
            "images": len(parts.test),
            "classes": len(parts.classes),
        }
    names = list(dict.fromkeys(name for probes in right.values() for name in probes))
    rows = []
    for name in names:
        row = []
        for model, probes in right.items():
            there = name in probes
            row += [Estimate(*bootstrap.interval(probes[name])), *columns[model][name]] if there else [None] * 3
        rows.append((name, row))
    headings = [f"{what} {model}" for model in right for what in ("top-1", "features of", "C of")]
    findings.tables.append(Table(headings, rows, "Top-1 of linear probes on test images", "features"))

    changes, curves = [], {}
    for model, probes in right.items():
        ends = _ends(probes)
        change = ends and Estimate(*bootstrap.paired_difference(probes[ends[1]], probes[ends[0]]))
        changes.append((model, [change or None]))
        curves[model] = _curve(probes)
        if model == first and ends:
            findings.claims.append(
                Claim(
                    "Accuracy rises as spatial detail is averaged away.",
                    f"top-1 of {first}, {ends[1]} minus {ends[0]}",
                    change,
                )
            )
    title = "Top-1 of the map's mean minus that of the whole map"
    findings.tables.append(Table(["difference"], changes, title, "model"))
    findings.claims += _of_head(first, right[first])
    findings.claims.append(
        Claim(
            "In linear probes of pooled features, pre-training on classification is better than on detection.",
            f"top-1 of {second} minus {first}, pooled",
            Estimate(*bootstrap.paired_difference(right[second]["pooled"], right[first]["pooled"])),
        )
    )
    if any(len(sides) > 1 for sides, *_ in curves.values()):
        findings.figures.append(_chart(curves, Figure))
    return findings


def _of_head(model, probes) -> list[Claim]:
    """The claims about the head of a model, if it has one."""
    from kerastransfer.report.page import Estimate

    claims = []
    if {"fc1", "fc2"} <= probes.keys():
        difference = Estimate(*bootstrap.paired_difference(probes["fc1"], probes["fc2"]))
        text = "The first fully connected layer of the head is better than the second."
        claims.append(Claim(text, f"top-1 of {model}, fc1 minus fc2", difference))
    of_head = {name: values for name, values in probes.items() if name.startswith(("proj", "fc"))}
    if of_head:
        best = max(of_head, key=lambda name: of_head[name].mean())
        difference = Estimate(*bootstrap.paired_difference(probes["pooled"], of_head[best]))
        text = "The pooled map is better than all features of the head."
        claims.append(Claim(text, f"top-1 of {model}, pooled minus {best}, the best of the head", difference))
    return claims


def _ends(probes) -> tuple[str, str] | None:
    """The names of the whole map and of its mean."""
    whole = next((name for name in probes if name.startswith(("proj ", "map "))), "")
    mean = "proj 1x1" if whole.startswith("proj") else "pooled"
    return (whole, mean) if whole not in ("", mean) else None


def _curve(probes):
    """Sides and accuracies of the map that is pooled to fewer and fewer places, for a chart."""
    points = {}
    for name, values in probes.items():
        kind, _, shape = name.partition(" ")
        if shape:
            points[int(shape.partition("x")[0])] = values.mean()
            if kind == "map":
                points[1] = probes["pooled"].mean()
    sides = sorted(points)
    return sides, [points[side] for side in sides], None


def _chart(curves, figure):
    from kerastransfer.report import figures

    caption = (
        "Top-1 of linear probes on maps that are averaged to so many places along each side: of the head's projected "
        "map, or of the deepest map of a model without one. On the left nothing is left of where something is."
    )
    picture = figures.lines(curves, x="places along a side", y="top-1", logarithmic=True)
    return "probes", figure("Probes of pooled maps", caption, b"", chart=True), picture


def _said(material, parts) -> str:
    text = (
        f"Logistic regression on frozen features, fitted to {len(parts.train):,} and tested on {len(parts.test):,} "
        f"images of {len(parts.classes):,} classes; differences are paired by test image. Pooled is the mean of the "
        "deepest map over all places; proj, fc1 and fc2 are of a detector's head."
    )
    if len(parts.left_out):
        names = [str(material.classes[label]) for label in parts.left_out]
        text += f" Left out, as they have no image in one of both parts: {some(names)}."
    return text

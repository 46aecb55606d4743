"""How many objects two detectors miss where something hides a part of them (Hoiem et al. 2012; Li et al. 2019, table
3)."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.material import Arrays, Detected, pair
from kerastransfer.analysis.resamples import estimate, require_enough
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap, voc

TITLE = "Objects missed under occlusion"
NEEDS = Detected
# Of the area of an object: where low, medium and high occlusion begin.
SHARES = (0.01, 0.1, 0.5)
LEVELS = ("none", "low", "medium", "high")
UNKNOWN = -1
# Of a normalised precision, so that a rounding error does not decide.
ROUNDING = 1e-9


@dataclasses.dataclass
class Settings:
    iou: float = 0.5
    """IoU with an object from which on a detection has found it."""
    precision: float = 0.05
    """An object is missed unless it is found by a detection down to whose score the normalised precision is at least
    this."""
    share: float = 0.15
    """Objects of a class that the normalised precision assumes, as a share of the number of images, so that it does not
    depend on how frequent the class is."""
    hoiem: str = ""
    """Folder of the annotations of Hoiem et al. (detectionAnalysis), for test images of VOC2007; by default what the
    data set says of occlusion is used."""
    resamples: int = 1000
    """Bootstrap resamples of the test images, for the intervals."""
    seed: int = 0
    """Seed of the resamples."""

    def __post_init__(self):
        for name in ("iou", "precision"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"--occlusion.{name} is {getattr(self, name):g}; give a number above 0, up to 1")
        if not 0 < self.share < float("inf"):
            raise UserError(f"--occlusion.share is {self.share:g}; it must be above 0")
        require_enough(self.resamples, "occlusion")


@dataclasses.dataclass(frozen=True)
class Found:
    """How well all N objects of a test set are found by a detector, in order of images.

    images, labels (N,). wanted (N,) bool: those that are not difficult. rank (N,): the place of the detection that
        found it, in order of falling scores among those of its class; the number of all where there is none.
    outcomes: for each class +1, 0 or -1 (D_k,) for its detections in that order: right, a difficult object, wrong.
    sources: for each class the numbers of their images (D_k,).
    positives (I, K): objects to find.
    """

    images: np.ndarray
    labels: np.ndarray
    wanted: np.ndarray
    rank: np.ndarray
    outcomes: Sequence[np.ndarray]
    sources: Sequence[np.ndarray]
    positives: np.ndarray

    def missed(self, *, share: float = 0.15, precision: float = 0.05, weights: np.ndarray | None = None) -> np.ndarray:
        """Which objects are missed (N,) bool; with weights (R, I), how often each image counts, (R, N).

        With share * I objects of each class in place of its own number, the precision down to a detection is
        p = right * share * I / objects, over p + wrong; and the largest of these at its score or a lower one counts. An
        object is found by a right detection for which that is at least `precision`.
        """
        number, classes = self.positives.shape
        given = np.ones((1, number), np.int64) if weights is None else np.asarray(weights, np.int64)
        totals = given @ self.positives
        # It only falls with the rank, so the objects found are those up to a last one.
        last = np.full((len(given), classes), -1)
        for label, (outcomes, sources) in enumerate(zip(self.outcomes, self.sources, strict=True)):
            for rows in voc.blocks(len(given), len(sources)):
                counts = given[rows][:, sources]
                right = np.cumsum(counts * (outcomes == voc.HIT), axis=1)
                wrong = np.cumsum(counts * (outcomes == voc.FALSE), axis=1)
                normal = right * (share * number) / np.maximum(totals[rows, label], 1)[:, None]
                enough = normal / np.maximum(normal + wrong, np.finfo(float).tiny) >= precision - ROUNDING
                reached = len(sources) - 1 - enough[:, ::-1].argmax(axis=1)
                last[rows, label] = np.where(enough.any(axis=1), reached, -1)
        missed = self.rank > last[:, self.labels]
        return missed[0] if weights is None else missed


def find(truths: Sequence[Arrays], found: Sequence[Arrays], num_classes: int, *, iou: float = 0.5) -> Found:
    """Match detections with objects, in the form of `metrics.voc`.

    In order of falling scores, a detection finds the object of its image and class that it overlaps most, of those that
    have not been found, if their IoU is `iou` or more; a difficult object takes one detection, which is neither right
    nor wrong. All others are wrong. Raises ValueError as `metrics.voc.average_precision` does.
    """
    everything = voc.gathered(truths, found, num_classes)
    order, labels, sources = voc.ranked([seen for _, seen in everything])
    outcomes, chosen, before = [], [], 0
    for objects, seen in everything:
        own, taken = np.full(len(seen.labels), voc.FALSE), np.full(len(seen.labels), -1)
        free = np.where(seen.labels[:, None] == objects.labels, voc.iou(seen.boxes, objects.boxes), 0.0)
        first = np.argsort(-seen.scores, kind="stable")
        for k in first[free.max(axis=1, initial=0.0)[first] >= iou]:
            nearest = int(free[k].argmax())
            if free[k, nearest] >= iou:
                own[k] = voc.HIT if objects.wanted[nearest] else voc.IGNORED
                taken[k] = before + nearest
                free[:, nearest] = 0.0
        outcomes.append(own)
        chosen.append(taken)
        before += len(objects.labels)
    outcomes, chosen = (np.concatenate([np.zeros(0, int), *parts])[order] for parts in (outcomes, chosen))
    rank = np.full(before, len(order))
    by_class = [np.flatnonzero(labels == label) for label in range(num_classes)]
    for which in by_class:
        right = np.flatnonzero(outcomes[which] == voc.HIT)
        rank[chosen[which][right]] = right
    objects = [one for one, _ in everything]
    positives = [np.bincount(one.labels[one.wanted], minlength=num_classes) for one in objects]
    return Found(
        images=np.repeat(np.arange(len(objects)), [len(one.labels) for one in objects]),
        labels=np.concatenate([np.zeros(0, int), *(one.labels for one in objects)]),
        wanted=np.concatenate([np.zeros(0, bool), *(one.wanted for one in objects)]),
        rank=rank,
        outcomes=[outcomes[which] for which in by_class],
        sources=[sources[which] for which in by_class],
        positives=np.array(positives, np.int64).reshape(-1, num_classes),
    )


@dataclasses.dataclass(frozen=True)
class Occlusion:
    """What is known of the objects (N,), padding left out.

    groups: {name: (N,) bool} that exclude each other. sets: {name: (N,) bool}, the paper's, with truncated objects.
    words: where it comes from.
    """

    groups: Mapping[str, np.ndarray]
    sets: Mapping[str, np.ndarray]
    words: str


def by_levels(level: np.ndarray, truncated: np.ndarray, words: str) -> Occlusion:
    """From levels of occlusion (N,), numbers of `LEVELS` or UNKNOWN. The set "low" has the objects whose occlusion is
    low or more and those that are truncated, and "medium" likewise (Hoiem et al. 2012): so "low" holds all of
    "medium"."""
    known = level != UNKNOWN
    groups = {name: level == number for number, name in enumerate(LEVELS)}
    sets = {name: known & ((level >= LEVELS.index(name)) | truncated) for name in ("low", "medium")}
    return Occlusion({name: one for name, one in groups.items() if one.any()}, sets, words)


def known_of(material: Detected, folder: str = "") -> Occlusion:
    """What the material says of the occlusion of its objects, or Hoiem et al.'s annotations in `folder`.

    Shares hidden where there are any, else the flags occluded and truncated. Raises LeftOut where there are none, and
    UserError if none of the annotations in `folder` is of these images.
    """
    truncated, cut = _flat(material.truths, "truncated")
    truncated = truncated & cut
    if folder:
        from kerastransfer.data import hoiem

        levels = hoiem.occlusion(hoiem.read(folder), material.names, material.truths, material.classes)
        level = np.concatenate([np.zeros(0, int), *levels])[_there(material.truths)]
        if not (level != UNKNOWN).any():
            raise UserError(
                f"--occlusion.hoiem {folder}: it has no object of these test images; it is about those of VOC2007's "
                "test set, in their own size and with VOC's names"
            )
        words = f"Occlusion as Hoiem et al. annotated it, of {(level != UNKNOWN).sum():,} of {len(level):,} objects"
        return by_levels(level, truncated, words + _or_truncated(cut))
    hidden, stated = _flat(material.truths, "hidden", np.float64)
    if stated.any():
        level = np.where(stated, np.digitize(hidden, SHARES), UNKNOWN)
        words = "Occlusion by the share of an object that other objects cover" + _of(stated)
        return by_levels(level, truncated, words + _or_truncated(cut))
    occluded, flagged = _flat(material.truths, "occluded")
    known = flagged | cut
    if not known.any():
        raise LeftOut(
            "no test image says which objects are occluded or truncated; data in VOC's layout have these flags, drawn "
            "scenes have shares, and for VOC2007 there is --occlusion.hoiem"
        )
    flags = [name for name, stated in (("occluded", flagged), ("truncated", cut)) if stated.any()]
    name = " or ".join(flags)
    words = (
        f"How much of an object is occluded is not annotated, so this is by the flag{'s'[: len(flags) > 1]} "
        f"{' and '.join(flags)}" + _of(known)
    )
    there = known & (truncated | (occluded & flagged))
    return Occlusion({"none": known & ~there, name: there}, {name: there}, words)


def _of(stated):
    return "" if stated.all() else f" (stated for {stated.sum():,} of {len(stated):,} objects)"


def _or_truncated(cut):
    return "" if cut.any() else "; whether an object is truncated is not annotated"


def _there(truths):
    return np.concatenate([np.zeros(0, bool), *(np.asarray(one["labels"]).reshape(-1) >= 0 for one in truths)])


def _flat(truths, name, kind=bool):
    """The values (N,) of all objects, and for which of them they are stated (N,) bool."""
    values, stated = [np.zeros(0, kind)], [np.zeros(0, bool)]
    for truth in truths:
        number = np.asarray(truth["labels"]).size
        values.append(np.asarray(truth.get(name, np.zeros(number)), kind).reshape(-1))
        stated.append(np.full(number, name in truth))
    there = _there(truths)
    return np.concatenate(values)[there], np.concatenate(stated)[there]


def percent(found: Found, missed: np.ndarray, which: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Percent of the objects in a set (N,) that are missed (N,), over all classes together. NaN for an empty set.
    weights: (R, I) with missed (R, N), for (R,)."""
    inside = np.flatnonzero(which & found.wanted)
    if weights is None:
        return 100 * missed[inside].mean() if len(inside) else np.float64(np.nan)
    result = np.full(len(weights), np.nan)
    for rows in voc.blocks(len(weights), len(inside)):
        counts = weights[rows][:, found.images[inside]]
        total = counts.sum(axis=1)
        share = (counts * missed[rows][:, inside]).sum(axis=1) / np.maximum(total, 1)
        result[rows] = 100 * np.where(total > 0, share, np.nan)
    return result


def class_mean(found: Found, missed: np.ndarray, which: np.ndarray) -> float:
    """The mean over classes of the percent missed, over those that have an object in the set."""
    each = [percent(found, missed, which & (found.labels == label)) for label in np.unique(found.labels)]
    return float(voc.mean(np.array(each)))


def study(settings: Settings, material: Detected, progress: Callable[[Iterable], Iterable] = iter) -> Findings:
    """Percent of objects that each detector misses, by how much of them is occluded."""
    from kerastransfer.report import figures
    from kerastransfer.report.page import Figure, Table

    models = pair(material.found)
    first, second = models
    occlusion = known_of(material, settings.hoiem)
    number = len(material.classes)
    found = {
        model: find(material.truths, material.found[model], number, iou=settings.iou) for model in progress([*models])
    }
    one = found[first]
    # A group and a set may have the same name.
    of_groups, counts = (
        {name: int((which & one.wanted).sum()) for name, which in some.items()}
        for some in (occlusion.groups, occlusion.sets)
    )
    if not any(counts.values()):
        raise LeftOut(
            f"none of the {one.wanted.sum():,} objects to find is occluded or truncated, so none can be missed for it"
        )
    rule = {"share": settings.share, "precision": settings.precision}
    weights = bootstrap.resampled(len(material.truths), resamples=settings.resamples, seed=settings.seed)
    missed = {model: found[model].missed(**rule) for model in models}
    again = {model: found[model].missed(**rule, weights=weights) for model in models}
    sets = {"all": np.ones(len(one.labels), bool), **occlusion.sets}
    values = {(m, name): float(percent(found[m], missed[m], which)) for m in models for name, which in sets.items()}
    samples = {(m, name): percent(found[m], again[m], which, weights) for m in models for name, which in sets.items()}
    means = {(m, name): class_mean(found[m], missed[m], which) for m in models for name, which in sets.items()}
    levels = {m: [float(percent(found[m], missed[m], which)) for which in occlusion.groups.values()] for m in models}

    findings = Findings(TITLE, _text(settings, occlusion, of_groups, counts, int(one.wanted.sum())))
    for m in models:
        numbers = {f"missed_percent/{name}": values[m, name] for name in sets}
        numbers |= {f"missed_percent_class_mean/{name}": means[m, name] for name in sets}
        numbers |= {
            f"missed_percent_level/{name}": value for name, value in zip(occlusion.groups, levels[m], strict=True)
        }
        findings.numbers[m] = numbers
    rows = [(m, [estimate(values[m, name], samples[m, name]) for name in sets]) for m in models]
    apart = {
        name: estimate(values[second, name] - values[first, name], samples[second, name] - samples[first, name])
        for name in sets
    }
    rows.append((f"{second} minus {first}", list(apart.values())))
    titles = [name if name not in occlusion.sets else f"{name} ({counts[name]:,} objects)" for name in sets]
    findings.tables = [
        Table(titles, rows, title="Percent of the objects that are missed, all classes together", corner="model"),
        Table(
            list(sets),
            [(m, [means[m, name] for name in sets]) for m in models],
            title="Percent of the objects that are missed, mean over classes",
            corner="model",
        ),
    ]
    groups = [f"{name}\n({count:,} objects)" for name, count in of_groups.items()]
    caption = f"{occlusion.words}. Truncated objects are in the group of their occlusion."
    if set(occlusion.groups) - set(LEVELS):
        caption = f"{occlusion.words}."
    findings.figures = [
        (
            "occlusion_missed",
            Figure("Objects missed by occlusion", caption, b"", chart=True),
            figures.bars(levels, groups, y="percent missed"),
        )
    ]
    findings.claims = [
        Claim(
            f"Fewer objects are missed where they are {_adjective(name)}.",
            f"percent missed by {second} minus that by {first}, {counts[name]:,} objects",
            apart[name],
        )
        for name in reversed(occlusion.sets)
        if counts[name]
    ]
    return findings


def _adjective(name):
    """What the objects of a set are."""
    of_level = {
        "low": "occluded, if only a little, or truncated",
        "medium": "occluded by a tenth or more, or truncated",
    }
    return of_level.get(name, name)


def _text(settings, occlusion, of_groups, counts, total):
    text = [
        f"An object is missed unless a detection of its class overlaps it by an IoU of {settings.iou:g} or more, at a "
        f"score down to which the normalised precision is at least {settings.precision:g} (Hoiem et al. 2012). That is "
        f"the precision if each class had as many objects as {settings.share:g} times the number of images. Difficult "
        "objects need not be found.",
        f"{occlusion.words}.",
    ]
    if "low" in occlusion.sets:
        among = ", ".join(f"{count:,} is {name}" for name, count in of_groups.items())
        text[1] += (
            f" Of the {total:,} objects to find, the occlusion of {among} (low from {SHARES[0]:.0%}, medium from "
            f"{SHARES[1]:.0%}, high from {SHARES[2]:.0%} of their area). The sets low and medium are the objects of "
            f"that level or a higher one and those that are truncated, {counts['low']:,} and {counts['medium']:,}, as "
            "in the paper."
        )
    else:
        text[1] += " All that have one of them are taken together, where the paper has a set of low and one of medium."
    text.append(
        f"The intervals are of 95 %, from {settings.resamples} bootstrap resamples of the images, the same ones for "
        "both models."
    )
    return text

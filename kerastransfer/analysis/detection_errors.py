"""What kinds of errors a detector makes, and what each kind costs (TIDE, Bolya et al. 2020)."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from kerastransfer.analysis.findings import Findings, LeftOut
from kerastransfer.analysis.material import Arrays, Detected, pair
from kerastransfer.errors import UserError
from kerastransfer.metrics import voc

TITLE = "Kinds of detection errors"
NEEDS = Detected
# A detection that is right or ignored, padding, and the six kinds of errors: those of detections and that of objects.
RIGHT, IGNORED, PADDING = "right", "ignored", ""
OF_DETECTIONS = ("classification", "localisation", "both", "duplicate", "background")
KINDS = (*OF_DETECTIONS, "missed")
SPECIAL = ("false positives", "false negatives")
WORDS = {
    "classification": "right place, wrong class",
    "localisation": "right class, wrong place",
    "both": "wrong class and wrong place",
    "duplicate": "an object that a better detection has found",
    "background": "no object there",
    "missed": "an object that no detection is right about and no error of classification or localisation",
}


@dataclasses.dataclass
class Settings:
    foreground: float = 0.5
    """IoU with an object from which on a detection is at its place."""
    background: float = 0.1
    """IoU with all objects below which a detection is on background."""

    def __post_init__(self):
        if not 0 < self.background < self.foreground < 1:
            raise UserError(
                f"--errors.background is {self.background:g} and --errors.foreground {self.foreground:g}; both must be "
                "above 0 and below 1, and the background's below the foreground's"
            )


@dataclasses.dataclass(frozen=True)
class Errors:
    """The errors of one detector.

    ap: mean average precision at the IoU `foreground`, over 101 recalls as COCO has it.
    counts: {kind: how many}, for `KINDS` and `SPECIAL`.
    costs: {kind: how much higher `ap` is if all errors of this kind alone are put right}. They do not add up to
        1 - ap.
    detections: for each image the kind (M,) str of each detection: RIGHT, IGNORED, one of `OF_DETECTIONS`, or PADDING.
    missed: for each image which objects (N,) bool are missed.
    """

    ap: float
    counts: dict[str, int]
    costs: dict[str, float]
    detections: list[np.ndarray]
    missed: list[np.ndarray]


def errors(
    truths: Sequence[Arrays],
    found: Sequence[Arrays],
    num_classes: int,
    *,
    foreground: float = 0.5,
    background: float = 0.1,
) -> Errors:
    """The errors of a detector, in the form of `metrics.voc`: for each image truths with boxes, labels and optionally
    difficult and crowd; and found with boxes, scores and labels.

    In order of falling scores, a detection is right if its IoU with an object of its class that is free is
    `foreground` or more; it takes that of the largest. Another one is ignored if it overlaps a difficult object of its
    class as much, or if so much of it is inside a crowd. What is left is the first of these (section 2.2, in the order
    of the authors' code):

        localisation    its IoU with an object of its class is from `background` to below `foreground`
        classification  its IoU with an object of another class is `foreground` or more
        duplicate       its IoU with an object of its class is `foreground` or more
        background      its IoU with every object is `background` or less
        both            what is left: its IoU with an object of another class is between the two

    An object is missed if no detection is right about it and none has an error of localisation or classification that
    is about it. To put errors right (section 2.3), a detection of the first two kinds gets the place or the class of
    its object, and of all that are then right about one object the best is kept; the other three kinds are left out;
    objects that are missed need not be found. Of `SPECIAL`, false positives are left out, and objects that nobody found
    need not be. A class without anything left to find has an average precision of 1 if nothing wrong is left, else 0.
    Raises ValueError as `metrics.voc.average_precision` does.
    """
    everything = voc.gathered(truths, found, num_classes)
    parts, before = [], 0
    for objects, seen in everything:
        kinds, targets, missed = _of_image(objects, seen, foreground, background)
        parts.append((kinds, np.where(targets < 0, -1, before + targets), missed))
        before += len(objects.labels)
    order, labels, images = voc.ranked([seen for _, seen in everything])
    kinds = np.concatenate([np.zeros(0, "<U14"), *(one for one, _, _ in parts)])
    targets = np.concatenate([np.zeros(0, int), *(one for _, one, _ in parts)])
    missed = np.concatenate([np.zeros(0, bool), *(one for _, _, one in parts)])
    counts = {kind: int((kinds == kind).sum()) for kind in OF_DETECTIONS}
    whole = _Whole(kinds[order], targets[order], labels, images, [one for one, _ in everything], num_classes)
    unfound = whole.wanted & ~np.isin(np.arange(before), targets[kinds == RIGHT])
    counts |= {
        "missed": int(missed.sum()),
        "false positives": sum(counts.values()),
        "false negatives": int(unfound.sum()),
    }
    ap = whole.score(whole.outcomes)
    after = {kind: whole.put_right(kind) for kind in ("classification", "localisation")}
    after |= {kind: whole.without(kind) for kind in ("both", "duplicate", "background")}
    after |= {
        "missed": whole.score(whole.outcomes, needless=missed),
        "false positives": whole.without(*OF_DETECTIONS),
        "false negatives": whole.score(whole.outcomes, needless=unfound),
    }
    return Errors(
        ap,
        counts,
        {kind: after[kind] - ap for kind in (*KINDS, *SPECIAL)},
        [
            _unpadded(own, one.index, given)
            for (own, _, _), (_, one), given in zip(parts, everything, found, strict=True)
        ],
        [
            _unpadded(own, one.index, given)
            for (_, _, own), (one, _), given in zip(parts, everything, truths, strict=True)
        ],
    )


def _of_image(objects: voc.Objects, seen: voc.Seen, foreground: float, background: float):
    """The kind (M,) of each detection; the object (M,) that it is about if it is right or has an error of localisation
    or classification, else -1; and which objects are missed (N,)."""
    overlap = voc.iou(seen.boxes, objects.boxes)
    same = seen.labels[:, None] == objects.labels
    # The last column is there where no object is.
    own, other = (np.pad(np.where(which & objects.wanted, overlap, 0.0), ((0, 0), (0, 1))) for which in (same, ~same))
    best, best_other = own.max(axis=1), other.max(axis=1)
    kinds = np.select(
        [
            (best >= background) & (best < foreground),
            best_other >= foreground,
            best >= foreground,
            np.maximum(best, best_other) <= background,
        ],
        ["localisation", "classification", "duplicate", "background"],
        "both",
    )
    targets = np.select(
        [kinds == "localisation", kinds == "classification"], [own.argmax(axis=1), other.argmax(axis=1)], -1
    )
    order = np.argsort(-seen.scores, kind="stable")
    for k in order[best[order] >= foreground]:
        nearest = int(own[k].argmax())
        if own[k, nearest] >= foreground:
            kinds[k], targets[k] = RIGHT, nearest
            own[:, nearest] = 0.0
    # Of a crowd, which is larger than what is found in it, it counts how much of the detection is inside.
    inside = overlap * _areas(objects.boxes) + overlap * _areas(seen.boxes)[:, None]
    inside = inside / (1 + overlap) / np.maximum(_areas(seen.boxes)[:, None], 1e-12)
    absorbed = np.where(objects.crowd, inside, overlap) * (same & ~objects.wanted) >= foreground
    ignored = absorbed.any(axis=1) & (kinds != RIGHT)
    kinds[ignored], targets[ignored] = IGNORED, -1
    return kinds, targets, objects.wanted & ~np.isin(np.arange(len(objects.labels)), targets)


def _areas(boxes):
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1)


def _unpadded(values, index, given):
    """The values of the rows that were given, of which only those in `index` have one."""
    result = np.zeros(np.asarray(given["labels"]).size, values.dtype)
    result[index] = values
    return result


class _Whole:
    """The detections of all images in order of falling scores, with their kinds and what they are about, and all
    objects; scored as they are and with errors put right."""

    def __init__(self, kinds, targets, labels, images, objects, num_classes):
        self.kinds, self.targets, self.labels, self.images = kinds, targets, labels, images
        self.object_labels = np.concatenate([np.zeros(0, int), *(one.labels for one in objects)])
        self.wanted = np.concatenate([np.zeros(0, bool), *(one.wanted for one in objects)])
        self.object_images = np.repeat(np.arange(len(objects)), [len(one.labels) for one in objects])
        self.shape = len(objects), num_classes
        self.outcomes = np.select([kinds == RIGHT, kinds == IGNORED], [voc.HIT, voc.IGNORED], voc.FALSE)

    def score(self, outcomes, labels=None, needless=False):
        """Mean average precision. needless: objects (N,) that need not be found."""
        labels = self.labels if labels is None else labels
        all_of_them, left = self._positives(self.wanted), self._positives(self.wanted & ~np.asarray(needless))
        values = voc.precision(outcomes, labels, self.images, left, "101-point")
        wrong = np.bincount(labels[outcomes == voc.FALSE], minlength=self.shape[1]) > 0
        values = np.where(left.sum(axis=0) == 0, np.where(wrong, 0.0, 1.0), values)
        return float(voc.mean(np.where(all_of_them.sum(axis=0) > 0, values, np.nan)))

    def without(self, *kinds):
        """The score without the detections of these kinds."""
        return self.score(np.where(np.isin(self.kinds, kinds), voc.IGNORED, self.outcomes))

    def put_right(self, kind):
        """The score if each detection of this kind is right about its object, of which only the best one counts."""
        which = np.flatnonzero(self.kinds == kind)
        labels, outcomes = self.labels.copy(), self.outcomes.copy()
        labels[which] = self.object_labels[self.targets[which]]
        rivals = np.isin(self.kinds, (RIGHT, kind)) & np.isin(self.targets, self.targets[which])
        rivals = np.flatnonzero(rivals)
        outcomes[rivals] = voc.IGNORED
        _, first = np.unique(self.targets[rivals], return_index=True)
        outcomes[rivals[first]] = voc.HIT
        return self.score(outcomes, labels)

    def _positives(self, which):
        counts = np.zeros(self.shape, np.int64)
        np.add.at(counts, (self.object_images[which], self.object_labels[which]), 1)
        return counts


def study(settings: Settings, material: Detected, progress: Callable[[Iterable], Iterable] = iter) -> Findings:
    """How many errors of each kind both detectors make, and what they cost them."""
    from kerastransfer.report import figures
    from kerastransfer.report.page import Figure, Table

    models = pair(material.found)
    options = dataclasses.asdict(settings)
    found = {
        model: errors(material.truths, material.found[model], len(material.classes), **options)
        for model in progress([*models])
    }
    score = f"AP{100 * settings.foreground:.0f}"
    if np.isnan(found[models[0]].ap):
        raise LeftOut(f"none of the {len(material.truths)} test images has an object to find, so there is no {score}")
    findings = Findings(TITLE, _text(settings, score))
    for model, one in found.items():
        findings.numbers[model] = {
            score.lower(): one.ap,
            **{f"error/{kind}": cost for kind, cost in one.costs.items()},
            **{f"error_count/{kind}": count for kind, count in one.counts.items()},
        }
    columns = [f"{model}, {what}" for what in ("cost", "number") for model in models]
    rows = [
        (kind, [found[m].costs[kind] for m in models] + [found[m].counts[kind] for m in models])
        for kind in (*KINDS, *SPECIAL)
    ]
    findings.tables = [
        Table(columns, rows, title=f"Errors by kind, and what they cost in {score}", corner="kind"),
        Table([score], [(m, [found[m].ap]) for m in models], title="Where the costs start from", corner="model"),
    ]
    caption = (
        f"How much higher the mean average precision at IoU {settings.foreground:g} of each detector is if all errors "
        "of one kind are put right."
    )
    costs = {m: [found[m].costs[kind] for kind in KINDS] for m in models}
    findings.figures = [
        (
            "detection_errors",
            Figure("What each kind of error costs", caption, b"", chart=True),
            figures.bars(costs, KINDS, y=f"{score} lost"),
        )
    ]
    return findings


def _text(settings, score):
    kinds = "; ".join(f"{kind} ({words})" for kind, words in WORDS.items())
    return [
        f"Errors of six kinds (Bolya et al. 2020), five of wrong detections and one of objects: {kinds}. A "
        f"detection is at the place of an object from an IoU of {settings.foreground:g} on, and on background up to "
        f"{settings.background:g}.",
        f"What a kind costs is the gain in {score}, mean average precision at IoU {settings.foreground:g} over 101 "
        "recalls as COCO has it, if its errors alone are put right; costs do not add up. They weigh errors by their "
        "scores, which the numbers do not: these grow with every detection of a low score. False positives are all "
        "wrong detections, false negatives all objects that no detection is right about.",
    ]

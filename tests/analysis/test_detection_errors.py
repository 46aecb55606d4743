"""Kinds of errors: one of each by hand, and costs against data in which the errors are really put right."""

import dataclasses

import numpy as np
import pytest

from kerastransfer.analysis import detection_errors
from kerastransfer.analysis.detection_errors import KINDS, OF_DETECTIONS, errors
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.analysis.material import Detected
from kerastransfer.errors import UserError
from kerastransfer.metrics import detection

BOX = np.array([[0.0, 0, 10, 10]])


def at(*shifts):
    """Boxes of 10 x 10, moved by so many pixels to the right; the IoU after 2 is 8 / 12, after 5 it is 1 / 3."""
    return np.concatenate([BOX + np.array([0, shift, 0, shift]) for shift in shifts])


def image(objects, found):
    """objects: (shift, label); found: (shift, label, score)."""
    truth = {"boxes": at(*(s for s, _ in objects)), "labels": np.array([k for _, k in objects])}
    seen = {
        "boxes": at(*(s for s, *_ in found)) if found else np.zeros((0, 4)),
        "labels": np.array([k for _, k, _ in found], int),
        "scores": np.array([score for *_, score in found], float),
    }
    return truth, seen


# A cat at 0 and a dog at 100, each with a right detection, unless it says otherwise.
CAT, DOG = (0, 0), (100, 1)
SEEN_CAT, SEEN_DOG = (0, 0, 0.5), (100, 1, 0.5)


@pytest.mark.parametrize(
    ("kind", "objects", "found", "cost"),
    [
        # The dog is called a cat, before the cat is found: precision of cats 1/2, of dogs 0.
        ("classification", [CAT, DOG], [SEEN_CAT, (100, 0, 0.9)], 0.75),
        # The cat is at the wrong place: its class has an average precision of 0.
        ("localisation", [CAT, DOG], [(5, 0, 0.9), SEEN_DOG], 0.5),
        # Something between the dog and nothing is called a cat, before the cat is found.
        ("both", [CAT, DOG], [SEEN_CAT, SEEN_DOG, (105, 0, 0.9)], 0.25),
        # The cat is found twice, and the second one comes before another cat: 51 recalls of 1, 50 of 2/3.
        ("duplicate", [CAT, (50, 0), DOG], [(0, 0, 0.9), (2, 0, 0.8), (50, 0, 0.7), SEEN_DOG], 0.5 * 50 / 3 / 101),
        ("background", [CAT, DOG], [SEEN_CAT, SEEN_DOG, (300, 0, 0.9)], 0.25),
        # One of two cats is not found: 51 of 101 recalls are reached.
        ("missed", [CAT, (50, 0), DOG], [SEEN_CAT, SEEN_DOG], 0.5 * 50 / 101),
    ],
)
def test_one_error_of_each_kind(kind, objects, found, cost):
    truth, seen = image(objects, found)
    got = errors([truth], [seen], 3)
    assert {name: got.counts[name] for name in KINDS} == {name: int(name == kind) for name in KINDS}
    assert got.costs[kind] == pytest.approx(cost)
    assert all(got.costs[name] == 0 for name in KINDS if name != kind)
    assert got.ap + cost == pytest.approx(1)
    wrong = [name for name in got.detections[0].tolist() if name != "right"]
    assert wrong == ([] if kind == "missed" else [kind]) and got.missed[0].sum() == (kind == "missed")


def test_the_first_kind_that_fits_counts():
    """A cat and a dog at nearly the same place."""

    def kinds(*found, objects=((0, 0), (1, 1))):
        truth, seen = image(objects, found)
        return errors([truth], [seen], 2).detections[0].tolist()

    assert kinds((0, 0, 0.9), (0, 0, 0.8)) == ["right", "classification"], "it is a duplicate too"
    assert kinds((-4.5, 0, 0.9)) == ["localisation"], "its IoU with the cat is 0.38, with the dog 0.29"
    assert kinds((4.5, 0, 0.9), objects=((0, 0), (4, 1))) == ["localisation"], "it is at the place of the dog too"
    assert kinds((0, 0, 0.8), (0, 0, 0.9), objects=((0, 0),)) == ["duplicate", "right"], "by score"


def test_a_right_place_that_is_taken_by_a_lower_score_is_kept_for_the_higher():
    """The badly placed detection has the higher score; put right, it is the one of both that stays."""
    truth, seen = image([CAT, (50, 0)], [(5, 0, 0.9), (0, 0, 0.8), (50, 0, 0.7)])
    got = errors([truth], [seen], 1)
    # One of 0.9 is wrong, then two are right: precision 1/2, 2/3; put right, 1 and 1.
    assert got.ap == pytest.approx(2 / 3)
    assert got.costs["localisation"] == pytest.approx(1 / 3)
    assert got.counts["missed"] == 0


def test_objects_with_an_error_about_them_are_not_missed():
    truth, seen = image([CAT, (50, 0), (200, 0)], [(5, 0, 0.9), (50, 1, 0.9)])
    got = errors([truth], [seen], 2)
    assert got.missed[0].tolist() == [False, False, True]
    assert got.counts["false negatives"] == 3 and got.counts["false positives"] == 2


def test_nothing_that_is_left():
    """All that a class has is missed: what it costs is all of it, unless wrong detections are left."""
    truth, seen = image([CAT], [])
    assert errors([truth], [seen], 1).costs["missed"] == 1
    truth, seen = image([CAT], [(300, 0, 0.9)])
    got = errors([truth], [seen], 1)
    assert got.costs["missed"] == 0 and got.costs["false negatives"] == 0 and got.counts["missed"] == 1


def test_difficult_objects_and_crowds_absorb_detections():
    truth, seen = image([CAT, DOG], [SEEN_CAT, SEEN_DOG, (101, 1, 0.4), (100, 0, 0.3)])
    hard = truth | {"difficult": np.array([False, True])}
    got = errors([hard], [seen], 2)
    assert got.detections[0].tolist() == ["right", "ignored", "ignored", "background"], "no cat is there"
    crowd = {"boxes": np.array([[0.0, 0, 10, 10], [0, 50, 40, 150]]), "labels": truth["labels"]}
    crowd |= {"crowd": np.array([False, True])}
    got = errors([crowd], [seen], 2)
    assert got.detections[0].tolist() == ["right", "ignored", "ignored", "background"], "of the crowd they are a 40th"
    assert got.counts["false negatives"] == 0 and got.ap == 1, "the wrong one comes last"


def test_padding():
    truth, seen = image([CAT, DOG], [SEEN_CAT, SEEN_DOG, (300, 0, 0.9)])
    wanted = errors([truth], [seen], 2)
    padded = [{k: np.concatenate([v[:1] * 0 - (k == "labels"), v]) for k, v in one.items()} for one in (truth, seen)]
    got = errors([padded[0]], [padded[1]], 2)
    assert (got.ap, got.counts, got.costs) == (wanted.ap, wanted.counts, wanted.costs)
    assert got.detections[0].tolist() == ["", *wanted.detections[0]] and got.missed[0].tolist() == [False] * 3


def drawn(seed, images=25):
    """Two classes on a line; every score occurs once."""
    rng = np.random.default_rng(seed)
    scores = iter(rng.permutation(10000) / 10000)
    truths, found = [], []
    for _ in range(images):
        objects = [(30.0 * place, int(rng.integers(2))) for place in rng.permutation(5)[: rng.integers(1, 5)]]
        seen = []
        for place, label in objects:
            for _ in range(rng.integers(0, 3)):
                other = label if rng.uniform() < 0.7 else 1 - label
                seen.append((place + rng.choice([0.0, 1.0, 4.0, 6.0, 12.0]), other, next(scores)))
        truth, guesses = image(objects, seen)
        truths.append(truth)
        found.append(guesses)
    return truths, found


def only(one, which):
    return {name: values[which] for name, values in one.items()}


@pytest.mark.parametrize("seed", range(4))
def test_the_costs_are_those_of_data_that_are_put_right(seed):
    """Boxes, classes and objects are changed in the data, and everything is matched and scored again."""
    truths, found = drawn(seed)
    got = errors(truths, found, 2)
    assert min(got.counts.values()) > 0

    def gain(truths, found):
        return errors(truths, found, 2).ap - got.ap

    for kind in ("both", "duplicate", "background"):
        left = [only(one, kinds != kind) for one, kinds in zip(found, got.detections, strict=True)]
        assert gain(truths, left) == pytest.approx(got.costs[kind], abs=1e-12)
    right = [only(one, kinds == "right") for one, kinds in zip(found, got.detections, strict=True)]
    assert gain(truths, right) == pytest.approx(got.costs["false positives"], abs=1e-12)
    needed = [only(one, ~gone) for one, gone in zip(truths, got.missed, strict=True)]
    assert gain(needed, found) == pytest.approx(got.costs["missed"], abs=1e-12)

    for kind in ("localisation", "classification"):
        put_right = []
        for truth, one, kinds in zip(truths, found, got.detections, strict=True):
            one = {name: values.copy() for name, values in one.items()}
            about = {}
            for k in np.argsort(-one["scores"]):
                overlap = 10 - np.abs(truth["boxes"][:, 1] - one["boxes"][k, 1])
                overlap = overlap.clip(0) / (20 - overlap.clip(0))
                same = truth["labels"] == one["labels"][k]
                if kinds[k] == kind:
                    target = int(np.where(same if kind == "localisation" else ~same, overlap, -1).argmax())
                    one["boxes"][k], one["labels"][k] = truth["boxes"][target], truth["labels"][target]
                elif kinds[k] == "right":
                    target = int(np.where(same, overlap, -1).argmax())
                else:
                    continue
                about.setdefault(target, []).append(k)
            best = [ks[0] for ks in about.values()]
            rest = [k for ks in about.values() for k in ks[1:]]
            assert all(kinds[k] in ("right", kind) for k in best + rest)
            # What is not about an object that is put right stays; of the others the best one does.
            put_right.append(only(one, np.setdiff1d(np.arange(len(kinds)), rest)))
        assert gain(truths, put_right) == pytest.approx(got.costs[kind], abs=1e-12)


def test_ap_is_that_of_coco():
    truths, found = drawn(9)
    scale = np.array([10, 200, 10, 200])
    common = [{"name": str(n), "size": (100, 2000)} for n in range(len(truths))]
    coco = detection.evaluate(
        [a | b | {"boxes": b["boxes"] / scale} for a, b in zip(common, truths, strict=True)],
        [a | b | {"boxes": b["boxes"] / scale} for a, b in zip(common, found, strict=True)],
        ("cat", "dog"),
    )
    assert errors(truths, found, 2).ap == pytest.approx(coco["AP50"], abs=1e-6)


def test_the_study_of_two_models():
    truths, found = drawn(3)
    perfect = [truth | {"scores": np.ones(len(truth["labels"]))} for truth in truths]
    names = [str(n) for n in range(len(truths))]
    given = Detected(names, ("cat", "dog"), truths, {"a": perfect, "b": found})
    findings = detection_errors.study(detection_errors.Settings(), given)
    alone = errors(truths, found, 2)
    assert findings.numbers["a"]["ap50"] == 1 and findings.numbers["a"]["error/missed"] == 0
    assert findings.numbers["b"]["error/localisation"] == alone.costs["localisation"]
    assert findings.numbers["b"]["error_count/false positives"] == sum(alone.counts[kind] for kind in OF_DETECTIONS)
    table = findings.tables[0]
    assert table.columns == ["a, cost", "b, cost", "a, number", "b, number"]
    assert [name for name, _ in table.rows][:6] == list(KINDS)
    ((_, figure, chart),) = findings.figures
    assert figure.chart and [bar.get_height() for bar in chart.axes[0].containers[1]] == pytest.approx(
        [alone.costs[kind] for kind in KINDS]
    )
    looser = detection_errors.study(detection_errors.Settings(foreground=0.3), given)
    assert looser.numbers["b"]["ap30"] > findings.numbers["b"]["ap50"]
    nothing = dataclasses.replace(given, truths=[truth | {"difficult": truth["labels"] >= 0} for truth in truths])
    with pytest.raises(LeftOut, match="none of the 25 test images has an object to find"):
        detection_errors.study(detection_errors.Settings(), nothing)


def test_wrong_settings():
    with pytest.raises(UserError, match=r"--errors.background is 0.6 and --errors.foreground 0.5"):
        detection_errors.Settings(background=0.6)

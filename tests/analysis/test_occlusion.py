"""Missed objects: the rule at its limit, the sets, a slow and literal rewriting of the definition, real annotations."""

import dataclasses

import numpy as np
import pytest

from kerastransfer.analysis import occlusion
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.analysis.material import Detected
from kerastransfer.errors import UserError
from kerastransfer.metrics import voc

EMPTY = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "scores": np.zeros(0)}


def literal(truths, found, label, *, iou=0.5, share=0.15, precision=0.05):
    """Which objects (image, number) of a class are missed, by Hoiem's rules, one after the other. Boxes are VOC's,
    (x1, y1, x2, y2) from 1 with the last pixel included."""
    objects = {(n, k) for n, one in enumerate(truths) for k, own in enumerate(one["labels"]) if own == label}
    easy = {(n, k) for n, k in objects if not truths[n]["difficult"][k]}
    ranked = sorted(
        (-one["scores"][k], n, k)
        for n, one in enumerate(found)
        for k in range(len(one["labels"]))
        if one["labels"][k] == label
    )
    used, outcomes = set(), []
    for _, n, k in ranked:
        a, best, chosen = found[n]["boxes"][k], 0, None
        for m, j in sorted(objects - used):
            if m != n:
                continue
            b = truths[n]["boxes"][j]
            width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
            if width > 0 and height > 0:
                whole = sum((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
                overlap = width * height / (whole - width * height)
                if overlap > best:
                    best, chosen = overlap, (m, j)
        if best >= iou:
            used.add(chosen)
            outcomes.append((1 if chosen in easy else 0, chosen))
        else:
            outcomes.append((-1, None))
    right = wrong = 0
    curve = []
    for outcome, _ in outcomes:
        right, wrong = right + (outcome == 1), wrong + (outcome == -1)
        normal = right * share * len(truths) / max(len(easy), 1)
        curve.append(normal / (normal + wrong) if normal + wrong else 0)
    good = {which for k, (outcome, which) in enumerate(outcomes) if outcome == 1 and max(curve[k:]) >= precision - 1e-9}
    return easy - good


def drawn(rng, images=10, classes=2):
    truths, found = [], []
    for _ in range(images):
        count, seen = int(rng.integers(0, 4)), int(rng.integers(0, 8))
        corner = rng.integers(1, 9, (count, 2))
        boxes = np.concatenate([corner, corner + rng.integers(2, 7, (count, 2))], axis=1)
        corner = rng.integers(1, 9, (seen, 2))
        guesses = np.concatenate([corner, corner + rng.integers(2, 7, (seen, 2))], axis=1)
        if count:
            near = boxes[rng.integers(0, count, seen)] + rng.integers(0, 2, (seen, 4))
            guesses = np.where(rng.uniform(size=(seen, 1)) < 0.5, near, guesses)
        truths.append(
            {"boxes": boxes, "labels": rng.integers(0, classes, count), "difficult": rng.uniform(size=count) < 0.3}
        )
        found.append(
            {"boxes": guesses, "labels": rng.integers(0, classes, seen), "scores": rng.integers(0, 9, seen) / 9}
        )
    return truths, found


def ours(images):
    return [one | {"boxes": one["boxes"][:, [1, 0, 3, 2]] - [1, 1, 0, 0]} for one in images]


def test_it_is_the_definition():
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(20):
        truths, found = drawn(rng)
        rule = {"share": float(rng.choice([0.02, 0.15, 0.5])), "precision": float(rng.choice([0.05, 0.3, 0.6]))}
        matched = occlusion.find(ours(truths), ours(found), 2)
        got = matched.missed(**rule)
        numbers = np.concatenate([np.arange(len(one["labels"])) for one in truths])
        for label in range(2):
            which = got & matched.wanted & (matched.labels == label)
            expected = literal(truths, found, label, **rule)
            assert set(zip(matched.images[which].tolist(), numbers[which].tolist(), strict=True)) == expected
            missed += len(expected)
    assert missed > 20


def beyond(wrong, images=20):
    """One object in the first of 20 images, found with the lowest score after so many wrong detections."""
    box = np.array([[0.0, 0, 10, 10]])
    truths = [{"boxes": box, "labels": np.zeros(1, int)}] + [EMPTY] * (images - 1)
    boxes = np.concatenate([np.full((wrong, 4), [50.0, 50, 60, 60]), box])
    detections = {"boxes": boxes, "labels": np.zeros(wrong + 1, int), "scores": np.linspace(1, 0.5, wrong + 1)}
    return truths, [detections] + [EMPTY] * (images - 1)


def test_the_limit_is_a_normalised_precision_of_a_twentieth():
    """N is 0.15 * 20 = 3 for one object, so after 57 wrong ones pn = 3 / (3 + 57) = 0.05 exactly."""
    assert occlusion.find(*beyond(57), 1).missed().tolist() == [False]
    assert occlusion.find(*beyond(58), 1).missed().tolist() == [True]
    assert occlusion.find(*beyond(58), 1).missed(precision=0.049).tolist() == [False]
    # Twice as many images count twice as much.
    assert occlusion.find(*beyond(114, 40), 1).missed().tolist() == [False]
    assert occlusion.find(*beyond(115, 40), 1).missed().tolist() == [True]


def test_a_lower_score_with_more_precision_counts():
    """The first object is found when precision is low; two more that follow raise it, for all three."""
    truths, (found, *rest) = beyond(20)
    box = np.array([[0.0, 0, 10, 10], [0, 20, 10, 30], [0, 40, 10, 50]])
    truths[0] = {"boxes": box, "labels": np.zeros(3, int)}
    alone = occlusion.find(truths, [found, *rest], 1)
    # 1 * 3 / 3 objects of 1 + 20, and 3 of 3 + 20.
    assert alone.missed(precision=0.1)[:1].tolist() == [True]
    more = {"boxes": box[1:], "labels": np.zeros(2, int), "scores": np.array([0.4, 0.3])}
    found = {name: np.concatenate([found[name], more[name]]) for name in found}
    assert occlusion.find(truths, [found, *rest], 1).missed(precision=0.1).tolist() == [False] * 3


def test_a_difficult_object_takes_one_detection():
    truths = [{"boxes": np.array([[0.0, 0, 10, 10]]), "labels": [0], "difficult": [True]}]
    found = [{"boxes": np.array([[0.0, 0, 10, 10]] * 2), "labels": [0, 0], "scores": [0.9, 0.8]}]
    matched = occlusion.find(truths, found, 1)
    assert matched.outcomes[0].tolist() == [0, -1] and matched.wanted.tolist() == [False]


def test_the_sets_hold_what_is_truncated():
    level, truncated = np.array([0, 1, 2, 3, 0, 1, -1]), np.array([0, 0, 0, 0, 1, 1, 1], bool)
    got = occlusion.by_levels(level, truncated, "")
    assert got.sets["low"].tolist() == [False, True, True, True, True, True, False]
    assert got.sets["medium"].tolist() == [False, False, True, True, True, True, False]
    assert [one.sum() for one in got.groups.values()] == [2, 2, 1, 1]


def material(hidden=None, images=30, **flags):
    """Two objects in each image, of which model b misses the first one in half of the images."""
    box = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    truths, found = [], {"a": [], "b": []}
    for n in range(images):
        labels = np.array([n % 2, 1])
        truths.append({"boxes": box, "labels": labels, "difficult": np.zeros(2, bool)})
        truths[-1] |= {"hidden": np.array(hidden, np.float32)} if hidden else {}
        truths[-1] |= {name: np.array(values, bool) for name, values in flags.items()}
        everything = {"boxes": box, "labels": labels, "scores": np.array([0.9, 0.8])}
        found["a"].append(everything)
        found["b"].append({name: values[n % 4 < 2 :] for name, values in everything.items()})
    return Detected([f"{n:06d}" for n in range(images)], ("cat", "dog"), truths, found)


def test_shares_become_levels():
    given = material((0.0, 0.3))
    hidden = iter([0, 0.009, 0.01, 0.09, 0.1, 0.49, 0.5, 1] + [0] * 60)
    for truth in given.truths:
        truth["hidden"] = np.array([next(hidden), next(hidden)])
    got = occlusion.known_of(given)
    assert {name: np.flatnonzero(one[:8]).tolist() for name, one in got.groups.items()} == {
        "none": [0, 1], "low": [2, 3], "medium": [4, 5], "high": [6, 7],
    }  # fmt: skip
    assert "whether an object is truncated is not annotated" in got.words


def test_the_study():
    findings = occlusion.study(occlusion.Settings(), material((0.3, 0.0), truncated=(False, False)))
    assert findings.numbers["a"]["missed_percent/medium"] == 0
    # 30 images are 7 times four, of which b misses two, and two more, of which it misses both.
    assert findings.numbers["b"]["missed_percent/medium"] == pytest.approx(100 * 16 / 30)
    assert findings.numbers["b"]["missed_percent/all"] == pytest.approx(100 * 16 / 60)
    assert findings.numbers["b"]["missed_percent_level/none"] == 0
    medium, low = findings.claims
    assert "a tenth or more" in medium.text and "only a little" in low.text
    assert medium.difference.value == pytest.approx(100 * 16 / 30) and medium.held is True
    assert low.difference == medium.difference
    assert [name for name, _ in findings.tables[0].rows] == ["a", "b", "b minus a"]
    ((_, figure, drawn),) = findings.figures
    assert figure.chart and [bar.get_height() for bar in drawn.axes[0].containers[1]] == pytest.approx([0, 1600 / 30])


def test_groups_and_sets_are_counted_apart():
    """Of 60 objects 30 are low and 30 medium, so that the set of low has all of them; 15 of the low are truncated."""
    given = material((0.05, 0.3))
    for n, truth in enumerate(given.truths):
        truth["truncated"] = np.array([n % 2 == 0, False])
    findings = occlusion.study(occlusion.Settings(), given)
    assert "Of the 60 objects to find, the occlusion of 30 is low, 30 is medium (" in findings.text[1]
    assert "those that are truncated, 60 and 45, as" in findings.text[1]
    assert findings.tables[0].columns == ["all", "low (60 objects)", "medium (45 objects)"]
    labels = [label.get_text() for label in findings.figures[0][2].axes[0].get_xticklabels()]
    assert labels == ["low\n(30 objects)", "medium\n(30 objects)"]


def test_the_class_mean():
    """The cats are 15 first objects, of which b misses 8; of 15 + 30 dogs it misses 8."""
    given = material((0.3, 0.3))
    numbers = occlusion.study(occlusion.Settings(), given).numbers["b"]
    assert numbers["missed_percent/low"] == pytest.approx(100 * 16 / 60)
    assert numbers["missed_percent_class_mean/low"] == pytest.approx(50 * (8 / 15 + 8 / 45))


def test_resamples_are_repeated_images():
    rng = np.random.default_rng(5)
    truths, found = drawn(rng, images=12)
    scores = iter(rng.permutation(500))
    for one in found:
        one["scores"] = np.array([next(scores) for _ in one["scores"]], float)
    truths, found = ours(truths), ours(found)
    matched = occlusion.find(truths, found, 2)
    weights = rng.integers(0, 3, (6, 12))
    weights = np.concatenate([weights, 12 - weights.sum(axis=1, keepdims=True).clip(0, 12)], axis=1)[:, :12]
    which = np.ones(len(matched.labels), bool)
    got = occlusion.percent(matched, matched.missed(precision=0.4, weights=weights), which, weights)
    for value, often in zip(got, weights, strict=True):
        numbers = np.repeat(np.arange(12), often)
        again = occlusion.find([truths[n] for n in numbers], [found[n] for n in numbers], 2)
        # As many images as before, whatever the sum of the weights.
        missed = again.missed(share=0.15 * 12 / len(numbers), precision=0.4)
        assert value == pytest.approx(occlusion.percent(again, missed, np.ones(len(missed), bool)))


def test_blocks_of_resamples_change_nothing(monkeypatch):
    truths, found = drawn(np.random.default_rng(6))
    matched, weights = occlusion.find(ours(truths), ours(found), 2), np.random.default_rng(7).integers(0, 3, (9, 10))
    which = np.ones(len(matched.labels), bool)

    def results():
        missed = matched.missed(precision=0.4, weights=weights)
        return missed, occlusion.percent(matched, missed, which, weights)

    whole = results()
    monkeypatch.setattr(voc, "BLOCK", 40)
    for one, other in zip(whole, results(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_flags_where_there_are_no_shares():
    findings = occlusion.study(occlusion.Settings(), material(occluded=(True, False), truncated=(False, False)))
    assert "by the flags occluded and truncated" in findings.text[1] and "taken together" in findings.text[1]
    (claim,) = findings.claims
    assert claim.text == "Fewer objects are missed where they are occluded or truncated."
    assert claim.difference.value == pytest.approx(1600 / 30)
    assert set(findings.numbers["a"]) >= {"missed_percent/all", "missed_percent/occluded or truncated"}


def test_only_the_flag_truncated_as_in_voc2007():
    findings = occlusion.study(occlusion.Settings(), material(truncated=(True, False)))
    assert "by the flag truncated" in findings.text[1]
    assert findings.claims[0].text == "Fewer objects are missed where they are truncated."


def test_objects_of_which_nothing_is_stated_are_left_out():
    given = material((0.3, 0.0))
    for truth in given.truths[10:]:
        del truth["hidden"]
    got = occlusion.known_of(given)
    assert got.sets["low"].sum() == 10 and got.groups["none"].sum() == 10
    assert "(stated for 20 of 60 objects)" in got.words


def test_without_annotations_the_study_is_left_out():
    with pytest.raises(LeftOut, match="no test image says which objects are occluded or truncated"):
        occlusion.study(occlusion.Settings(), material())
    with pytest.raises(LeftOut, match="none of the 60 objects to find is occluded or truncated"):
        occlusion.study(occlusion.Settings(), material((0.0, 0.0)))


def test_padding_is_left_out_everywhere():
    given = material((0.3, 0.0))
    padded = [
        {name: np.concatenate([values[:1] * 0, values]) for name, values in truth.items()} for truth in given.truths
    ]
    for truth in padded:
        truth["labels"][0] = -1
    wanted = occlusion.study(occlusion.Settings(), given).numbers
    assert occlusion.study(occlusion.Settings(), dataclasses.replace(given, truths=padded)).numbers == wanted


def test_levels_of_hoiem(monkeypatch):
    from kerastransfer.data import hoiem

    given = material()
    cats = hoiem.Attributes(
        np.array(["000000", "000002"]), np.array([1, 1]), np.array([[0.0, 0, 10, 10]] * 2), *np.zeros((2, 2), bool),
        np.array([2, 0], np.int8),
    )  # fmt: skip
    monkeypatch.setattr(hoiem, "read", lambda folder: {"cat": cats})
    findings = occlusion.study(occlusion.Settings(hoiem="folder"), given)
    assert "annotated it, of 2 of 60 objects" in findings.text[1]
    assert findings.numbers["b"]["missed_percent/medium"] == 100
    with pytest.raises(UserError, match=r"--occlusion.hoiem folder: it has no object of these test images"):
        occlusion.known_of(dataclasses.replace(given, names=["x"] * 30), "folder")


def test_drawn_scenes_have_shares():
    from kerastransfer.data.toy import toy

    truths = []
    for sample in toy(count=30, image_size=64).samples:
        example = sample.read()
        truths.append(example | {"boxes": example["boxes"] * 64})
    found = {"a": [truth | {"scores": np.ones(len(truth["labels"]))} for truth in truths], "b": [EMPTY] * 30}
    names = ("disc", "square", "triangle", "star")
    findings = occlusion.study(occlusion.Settings(), Detected([str(n) for n in range(30)], names, truths, found))
    assert findings.numbers["a"]["missed_percent/low"] == 0 and findings.numbers["b"]["missed_percent/low"] == 100
    assert findings.claims[0].held is True


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"iou": 0.0}, "--occlusion.iou is 0; give a number above 0, up to 1"),
        ({"precision": 2.0}, "--occlusion.precision is 2"),
        ({"share": -1.0}, "--occlusion.share is -1; it must be above 0"),
        ({"resamples": 0}, "--occlusion.resamples is 0; an interval needs 20 or more"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(UserError, match=message):
        occlusion.Settings(**wrong)

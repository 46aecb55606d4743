"""VOC's average precision against its definition, evaluated slowly and literally on VOC's own inclusive boxes."""

from fractions import Fraction

import numpy as np
import pytest

from kerastransfer.metrics import detection, voc

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


def literal(truths, found, label, threshold, method):
    """The definition for one class. Boxes are VOC's, (x1, y1, x2, y2) from 1 with the last pixel included."""
    objects = {n: [k for k, one in enumerate(truth["labels"]) if one == label] for n, truth in enumerate(truths)}
    total = sum(not truths[n]["difficult"][k] for n, own in objects.items() for k in own)
    if not total:
        return np.nan
    detections = [
        (-float(seen["scores"][k]), n, k)
        for n, seen in enumerate(found)
        for k in range(len(seen["labels"]))
        if seen["labels"][k] == label
    ]
    used, hits, misses, curve = set(), 0, 0, []
    for _, n, k in sorted(detections):
        box, best, chosen = found[n]["boxes"][k].tolist(), Fraction(0), None
        for one in objects[n]:
            other = truths[n]["boxes"][one].tolist()
            width = min(box[2], other[2]) - max(box[0], other[0]) + 1
            height = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if width > 0 and height > 0:
                areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
                overlap = Fraction(width * height, sum(areas) - width * height)
                if overlap > best:
                    best, chosen = overlap, one
        if best > Fraction(str(threshold)):
            if truths[n]["difficult"][chosen]:
                continue
            if (n, chosen) not in used:
                used.add((n, chosen))
                hits += 1
            else:
                misses += 1
        else:
            misses += 1
        curve.append((Fraction(hits, total), Fraction(hits, hits + misses)))
    if method == "area":
        area, before = Fraction(0), Fraction(0)
        for recall, _ in curve:
            area += (recall - before) * max(p for r, p in curve if r >= recall)
            before = recall
        return float(area)
    steps = int(method.split("-")[0]) - 1
    reached = [max([p for r, p in curve if r >= Fraction(k, steps)], default=Fraction(0)) for k in range(steps + 1)]
    return float(sum(reached) / (steps + 1))


def drawn(rng, images=8, classes=3):
    """VOC's truths and detections in a small grid, so that IoUs are often equal, and equal to a threshold; duplicates,
    difficult objects, images without either, tied scores."""
    truths, found = [], []
    for _ in range(images):
        count, seen = int(rng.integers(0, 5)), int(rng.integers(0, 9))

        def boxes(number):
            first = rng.integers(1, 9, (number, 2))
            return np.concatenate([first, first + rng.integers(0, 6, (number, 2))], axis=1)

        there, guesses = boxes(count), boxes(seen)
        if count and seen:
            near = rng.integers(0, count, seen)
            moved = there[near] + rng.integers(0, 2, (seen, 4)) * [[0, 0, 1, 1]]
            guesses = np.where(rng.uniform(size=(seen, 1)) < 0.7, moved, guesses)
        truths.append(
            {
                "boxes": there,
                "labels": rng.integers(0, classes, count),
                "difficult": rng.uniform(size=count) < 0.25,
            }
        )
        found.append(
            {
                "boxes": guesses,
                "labels": rng.integers(0, classes, seen),
                "scores": rng.integers(0, 12, seen) / 12,
            }
        )
    return truths, found


def ours(images):
    """VOC's boxes in our form: edges from 0, the end excluded."""
    return [one | {"boxes": one["boxes"][:, [1, 0, 3, 2]] - [1, 1, 0, 0]} for one in images]


@pytest.mark.parametrize(("method", "cases"), [("11-point", 12), ("area", 12), ("101-point", 3)])
def test_it_is_the_definition(method, cases):
    rng = np.random.default_rng(0)
    for _ in range(cases):
        truths, found = drawn(rng)
        got = voc.average_precision(ours(truths), ours(found), 4, THRESHOLDS, method)
        wanted = [[literal(truths, found, label, t, method) for t in THRESHOLDS] for label in range(4)]
        np.testing.assert_allclose(got, wanted, atol=1e-12)
        assert np.isnan(got[3]).all(), "nothing of the last class"


def test_the_iou_of_inclusive_boxes_is_the_plain_one_of_ours():
    """A box of VOC from pixel 1 to 10 is 10 wide; moved by one pixel it shares 9 of 11 columns."""
    box, moved = np.array([[1, 1, 10, 10]]), np.array([[2, 1, 11, 10]])
    (mine,), (other,) = (ours([{"boxes": one}]) for one in (box, moved))
    assert voc.iou(mine["boxes"], other["boxes"]) == pytest.approx(9 / 11)
    assert voc.iou(box, moved) == pytest.approx(8 / 10), "without the conversion it would be another"


def one_class(objects, detections, difficult=None):
    """Boxes of 10 x 10 at steps of 20; detections are (object, score, shift in pixels)."""
    place = np.array([[0, 20 * k, 10, 20 * k + 10] for k in range(objects)], float)
    truth = {"boxes": place, "labels": np.zeros(objects, int), "difficult": np.array(difficult or [False] * objects)}
    boxes = np.array([place[k] + [0, shift, 0, shift] for k, _, shift in detections]).reshape(-1, 4)
    scores = np.array([score for _, score, _ in detections])
    return [truth], [{"boxes": boxes, "labels": np.zeros(len(boxes), int), "scores": scores}]


def test_perfect_detections():
    truths, found = one_class(3, [(0, 0.9, 0), (1, 0.8, 0), (2, 0.3, 0)])
    for method in ("11-point", "area", "101-point"):
        assert (voc.average_precision(truths, found, 1, (0.1, 0.5, 0.9), method) == 1).all()


def test_moved_boxes_give_a_step():
    """All are moved by 2 of 10 pixels: their IoU is 8 / 12, and the curve falls from 1 to 0 there."""
    truths, found = one_class(2, [(0, 0.9, 2), (1, 0.8, 2)])
    at = (0.1, 0.5, 0.6, 2 / 3, 0.7, 0.9)
    assert voc.average_precision(truths, found, 1, at).tolist() == [[1, 1, 1, 0, 0, 0]], "equal is not above"


def test_the_two_metrics_on_a_curve_by_hand():
    """Right, wrong, right of two objects: precision 1 until recall 0.5, then 2/3."""
    truths, found = one_class(2, [(0, 0.9, 0), (0, 0.8, 0), (1, 0.7, 0)])
    assert voc.average_precision(truths, found, 1) == pytest.approx([(6 + 5 * 2 / 3) / 11])
    assert voc.average_precision(truths, found, 1, method="area") == pytest.approx([0.5 + 0.5 * 2 / 3])


def test_recalls_are_exact():
    """3 of 10 objects reach a recall of 0.3, which they do not where 0.1 is added up."""
    truths, found = one_class(10, [(k, 0.9, 0) for k in range(3)])
    assert np.arange(0, 1.1, 0.1)[3] > 0.3
    assert voc.average_precision(truths, found, 1) == pytest.approx([4 / 11])


def test_difficult_objects_are_neither_right_nor_wrong():
    """However often they are found, and they need not be."""
    detections = [(1, 0.9, 0), (1, 0.8, 0), (0, 0.5, 0)]
    assert voc.average_precision(*one_class(2, detections, [False, True]), 1) == 1
    assert voc.average_precision(*one_class(2, detections[2:], [False, True]), 1) == 1
    assert np.isnan(voc.average_precision(*one_class(1, [(0, 0.9, 0)], [True]), 1))
    truths, found = one_class(2, detections, [False, False])
    assert voc.average_precision([truths[0] | {"crowd": np.array([False, True])}], found, 1) == 1, "crowds too"


def test_the_object_is_chosen_whether_it_was_found_or_not():
    """Two objects overlap; the second detection is nearer to the one that is taken, so it is wrong."""
    truths = [{"boxes": np.array([[0, 0, 10, 10], [0, 3, 10, 13]]), "labels": np.zeros(2, int)}]
    boxes = np.array([[0, 0, 10, 10], [0, 1, 10, 11]])
    found = [{"boxes": boxes, "labels": np.zeros(2, int), "scores": np.array([0.9, 0.8])}]
    assert voc.average_precision(truths, found, 1, 0.5, "area") == 0.5


def test_padding_and_empty_sides():
    truths, found = one_class(2, [(0, 0.9, 0), (1, 0.5, 0)])
    padded = [{name: np.pad(values, [(0, 2)] + [(0, 0)] * (values.ndim - 1)) for name, values in one.items()}
              for one in (truths[0], found[0])]  # fmt: skip
    for one in padded:
        one["labels"][-2:] = -1
    assert voc.average_precision([padded[0]], [padded[1]], 1) == 1
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "scores": np.zeros(0)}
    assert voc.average_precision(truths, [nothing], 1) == 0
    assert np.isnan(voc.average_precision([nothing], [nothing], 2)).all()
    assert np.isnan(voc.average_precision([], [], 2, (0.5, 0.7))).tolist() == [[True, True]] * 2


def test_images_that_count_several_times_are_repeated_images():
    rng = np.random.default_rng(3)
    truths, found = drawn(rng, images=10)
    # No score occurs twice, so that the order of equal scores in repeated images does not matter.
    scores = iter(rng.permutation(1000))
    for one in found:
        one["scores"] = np.array([next(scores) for _ in one["scores"]], float)
    truths, found = ours(truths), ours(found)
    weights = rng.integers(0, 4, (5, 10))
    matches = voc.match(truths, found, 3)
    for method in ("11-point", "area", "101-point"):
        got = matches.average_precision(0.4, method, weights)
        for row, often in zip(got, weights, strict=True):
            repeated = ([side[n] for n in np.repeat(np.arange(10), often)] for side in (truths, found))
            np.testing.assert_allclose(row, voc.average_precision(*repeated, 3, 0.4, method), atol=1e-12)


def test_blocks_of_resamples_change_nothing(monkeypatch):
    truths, found = drawn(np.random.default_rng(4))
    matches, weights = voc.match(ours(truths), ours(found), 3), np.random.default_rng(5).integers(0, 3, (7, 8))
    whole = matches.average_precision(0.4, "area", weights)
    monkeypatch.setattr(voc, "BLOCK", 30)
    np.testing.assert_array_equal(matches.average_precision(0.4, "area", weights), whole)


def test_where_no_objects_overlap_coco_scores_the_same():
    """An independent evaluator: 101 points, an IoU of 0.5; the rules differ only where boxes have several objects."""
    rng = np.random.default_rng(6)
    truths, found = [], []
    for number in range(20):
        cells = rng.permutation(16)[: rng.integers(1, 9)]
        boxes = np.stack([cells // 4, cells % 4, cells // 4 + 0.9, cells % 4 + 0.9], axis=1) / 4
        labels = rng.integers(0, 2, len(cells))
        seen = np.repeat(np.arange(len(cells)), rng.integers(0, 3, len(cells)))
        moved = boxes[seen] + rng.normal(0, 0.03, (len(seen), 4))
        common = {"name": str(number), "size": (100, 100)}
        truths.append(common | {"boxes": boxes, "labels": labels})
        guess = np.where(rng.uniform(size=len(seen)) < 0.8, labels[seen], 1 - labels[seen])
        found.append({"name": str(number), "boxes": moved, "labels": guess, "scores": rng.uniform(size=len(seen))})
    coco = detection.evaluate(truths, found, ("a", "b"))
    got = voc.average_precision(truths, found, 2, 0.5, "101-point")
    assert got == pytest.approx([coco["AP50/a"], coco["AP50/b"]], abs=1e-6)


def test_the_mean_is_over_classes_with_objects():
    np.testing.assert_allclose(voc.mean(np.array([[0.5, np.nan, 1.0], [np.nan] * 3])), [0.75, np.nan])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, f: (t, f * 2, 1), "truths of 1 images and detections of 2"),
        (lambda t, f: (t, [f[0] | {"scores": np.ones(3)}], 1), "detections of image 0: 2 boxes, 2 labels, 3 scores"),
        (lambda t, f: ([t[0] | {"labels": np.array([0, 7])}], f, 5), r"truth of image 0: label 7, .* \(0 to 4\)"),
        (lambda t, f: (t, [f[0] | {"scores": np.array([1, np.nan])}], 1), "a score is not a number"),
        (lambda t, f: (t, [f[0] | {"boxes": f[0]["boxes"] * np.nan}], 1), "detections of image 0: a box has a corner"),
        (lambda t, f: (t, t, 1), "detections of image 0: scores are missing; there are boxes, labels"),
        (lambda t, f: (t, f, 1, 1.0), "an IoU threshold of 1; give one from 0 to below 1"),
        (lambda t, f: (t, f, 1, 0.5, "12-point"), "method '12-point'; choose from 11-point, area"),
    ],
)
def test_wrong_input(change, message):
    with pytest.raises(ValueError, match=message):
        voc.average_precision(*change(*one_class(2, [(0, 0.9, 0), (1, 0.5, 0)])))

"""Boxes from a model's outputs, their scores, and how an exported file is compared."""

import dataclasses
import types

import numpy as np
import pytest

from kerastransfer.data.toy import CLASSES
from kerastransfer.tasks import detection
from kerastransfer.tasks.about import About, Thresholds
from kerastransfer.tasks.scored import Shown

# The second box shares 0.8 of the first, the third 0.4; the fourth lies apart.
BOXES = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4], [0.0, 0.0, 0.5, 0.2], [0.6, 0.6, 1.0, 1.0]], np.float32)
PETS = ("cat", "dog")


def test_boxes_in_pixels_and_in_words():
    about = About(task="detection", labels=PETS, image_size=(64, 64))
    outputs = {"boxes": BOXES * 2 - 0.1, "scores": np.array([[0.0, 0.9], [0, 0], [0, 0], [0.6, 0]], np.float32)}
    found = detection.interpret(outputs, about, (100, 200), Thresholds())
    assert found.names == ("dog", "cat")
    np.testing.assert_allclose(found.pixel_boxes[0], [0, 0, 90, 180], rtol=1e-6)
    assert found.boxes.max() <= 1, "a box ends where the image ends"
    assert found.summary()[0] == {"label": "dog", "score": pytest.approx(0.9), "box": pytest.approx([0, 0, 90, 180])}
    assert found.in_words() == "dog 0.90, cat 0.60"


def test_nothing_found():
    outputs = {"boxes": BOXES, "scores": np.zeros((4, 2), np.float32)}
    about = About(task="detection", labels=PETS, image_size=(64, 64))
    found = detection.interpret(outputs, about, (10, 10), Thresholds())
    assert found.boxes.shape == (0, 4)
    assert found.summary() == [] and found.in_words() == "nothing"


def test_boxes_of_a_letterboxed_picture_come_back():
    """A picture of 100 x 200 in a model of 64 x 64: rows 16 to 48 are the image."""
    boxes = np.array([[0.25, 0.1, 0.5, 0.3], [0.1, 0.5, 0.4, 1.0], [0.0, 0.0, 0.2, 1.0]], np.float32)
    scores = np.array([[0.9, 0.0], [0.0, 0.8], [0.7, 0.0]], np.float32)
    about = About(task="detection", labels=PETS, image_size=(64, 64), resize="letterbox")
    found = detection.interpret({"boxes": boxes, "scores": scores}, about, (100, 200), Thresholds())
    assert found.names == PETS, "the third lies in the grey above the image"
    np.testing.assert_allclose(found.pixel_boxes, [[0, 20, 50, 60], [0, 100, 30, 200]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9, 0.8])


@pytest.mark.parametrize("labels", [list(CLASSES), [*reversed(CLASSES), "moon"]])
def test_a_perfect_detector_in_any_order_of_classes(labels, scenes, perfect_detector):
    scores = detection.score(perfect_detector(labels), scenes, labels).metrics
    assert scores["AP"] == pytest.approx(1.0)
    assert scores["AP50/star"] == pytest.approx(1.0)
    assert {detection.MAIN, detection.KEPT} <= scores.keys()


def test_truth_and_results_are_kept_on_demand_and_score_the_same_with_cocos_own_tools(scenes, perfect_detector):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    bare = detection.score(perfect_detector(list(CLASSES)), scenes, CLASSES)
    assert bare.results == {}

    def clumsy(image, *, score):
        """Half of the objects, a little beside their place."""
        found = perfect_detector(list(CLASSES))(image, score=score)
        boxes = np.clip(found.boxes[::2] + 0.02, 0, 1)
        scores = np.linspace(0.9, 0.3, len(boxes), dtype=np.float32)
        return detection.Detections(boxes, scores, found.labels[::2], found.names[::2], found.image_size)

    scored = detection.score(clumsy, scenes, CLASSES, keep=True)
    truth = COCO()
    truth.dataset = scored.truth
    truth.createIndex()
    scorer = COCOeval(truth, truth.loadRes(scored.results[""]), "bbox")
    scorer.evaluate(), scorer.accumulate(), scorer.summarize()
    assert 0.05 < scored.metrics["AP"] < 0.9
    np.testing.assert_allclose([scored.metrics["AP"], scored.metrics["AP50"]], scorer.stats[:2], atol=1e-9)


def test_progress_sees_every_sample(scenes, perfect_detector):
    seen = []

    def bar(samples):
        for sample in samples:
            seen.append(sample.name)
            yield sample

    detection.score(perfect_detector(list(CLASSES)), scenes, CLASSES, progress=bar)
    assert seen == [sample.name for sample in scenes.samples]


ABOUT = About(task="detection", labels=tuple("abcdefghij"), image_size=(64, 64))


def raw(**scores):
    """200 boxes x 10 classes of score 0, but for {"row_class": score}."""
    table = np.zeros((200, 10), np.float32)
    for place, score in scores.items():
        row, label = map(int, place.strip("_").split("_"))
        table[row, label] = score
    corner = np.linspace(0, 0.8, 200, dtype=np.float32)
    return {"boxes": np.stack([corner, corner, corner + 0.1, corner + 0.1], axis=-1), "scores": table}


def test_how_far_a_file_is_from_keras_and_what_it_misses():
    expected = [raw(_3_1=0.95, _150_2=0.6)]
    apart, counts = detection.differences(expected, [raw(_3_1=0.95)], ABOUT)
    assert counts == {"detections": 2, "missing": 1, "extra": 0}
    assert apart["scores"] == {"maximum": pytest.approx(0.6), "mean": pytest.approx(0.6 / 2000)}
    assert apart["boxes"] == {"maximum": 0, "mean": 0}
    _, counts = detection.differences(expected, [raw(_3_1=0.95, _150_2=0.6, _80_5=0.4)], ABOUT)
    assert counts == {"detections": 2, "missing": 0, "extra": 1}
    _, counts = detection.differences(expected, [raw(_3_1=0.9, _150_2=0.55)], ABOUT)
    assert counts == {"detections": 2, "missing": 0, "extra": 0}


def test_rows_may_be_in_another_order_where_the_decoder_says_so():
    """As proposals are: then detections are compared that correspond."""
    expected = raw(_3_1=0.95, _150_2=0.6)
    order = np.random.default_rng(0).permutation(200)
    turned = {name: value[order] for name, value in expected.items()}
    apart, _ = detection.differences([expected], [turned], ABOUT)
    assert apart["boxes"]["maximum"] > 0.1
    proposals = dataclasses.replace(ABOUT, decoder=types.SimpleNamespace(rows_vary=True))
    apart, counts = detection.differences([expected], [turned], proposals)
    assert counts == {"detections": 2, "missing": 0, "extra": 0}
    assert apart == {name: {"maximum": 0, "mean": 0} for name in ("boxes", "scores")}


@pytest.mark.parametrize(("apart", "extra"), [(2e-6, 0), (1e-3, 1)])
def test_which_of_equal_scores_suppression_keeps_is_not_in_the_file(apart, extra):
    """The middle one of three boxes overlaps both others: it alone is kept if it is the best, otherwise both others."""
    expected = raw(_0_1=0.6, _4_1=0.600001, _8_1=0.6)
    _, counts = detection.differences([expected], [raw(_0_1=0.6 + apart, _4_1=0.6, _8_1=0.6)], ABOUT)
    assert counts == {"detections": 1, "missing": 0, "extra": extra}


def test_a_score_that_crosses_the_threshold_by_a_little_is_not_missing():
    limit = ABOUT.thresholds.score
    _, counts = detection.differences([raw(_3_1=limit + 0.01)], [raw(_3_1=limit - 0.01)], ABOUT)
    assert counts == {"detections": 1, "missing": 0, "extra": 0}


def test_pictures_of_a_model_that_knows_other_classes_are_the_same(scenes, perfect_detector):
    """Classes are matched by name; one that the data lacks is named too."""

    def drawn(labels, change=lambda found: found):
        def predict(image):
            return change(perfect_detector(labels)(image, score=0.0))

        ((_, _, picture),) = detection.figures({"net": Shown(predict, {}, {})}, scenes, scenes)
        return np.asarray(picture)

    def with_moon(found):
        names = ("moon", *found.names[1:])
        return dataclasses.replace(found, labels=np.array([9, *found.labels[1:]]), names=names)

    plain = drawn(list(CLASSES))
    np.testing.assert_array_equal(drawn([*reversed(CLASSES), "moon"]), plain)
    assert (drawn(list(CLASSES), with_moon) != plain).any()

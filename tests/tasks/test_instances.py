"""Masks of objects from a model's outputs, and their scores."""

import json

import numpy as np
import pytest

from kerastransfer.data.toy import CLASSES
from kerastransfer.tasks import instances
from kerastransfer.tasks.about import About, Thresholds
from kerastransfer.tasks.instances import Instances, run_lengths

# The second box shares 0.8 of the first, the third 0.4; the fourth lies apart.
BOXES = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4], [0.0, 0.0, 0.5, 0.2], [0.6, 0.6, 1.0, 1.0]], np.float32)


def test_instances_by_hand():
    """Rows past `count` are ignored, thresholds apply on top, and the second cat overlaps the first by 0.8."""
    outputs = {
        "boxes": np.concatenate([BOXES, BOXES[:1]]),
        "scores": np.array([0.9, 0.8, 0.7, 0.4, 0.95], np.float32),
        "labels": np.array([0, 0, 1, 1, 0], np.float32),
        "masks": np.array([0.9, 0.9, 0.4, 0.6, 0.9], np.float32)[:, None, None] * np.ones((5, 4, 4), np.float32),
        "count": np.float32(4),
    }
    about = About(task="instances", labels=("cat", "dog"), image_size=(64, 64))
    found = instances.interpret(outputs, about, (10, 20), Thresholds(score=0.4, iou=0.9))
    assert found.names == ("cat", "cat", "dog", "dog")
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7, 0.4])
    assert found.masks.shape == (4, 10, 20)
    np.testing.assert_allclose(found.pixel_boxes[3], [6, 12, 10, 20], rtol=1e-6)
    rows, columns = np.nonzero(found.masks[3])
    # A cell is two columns wide: the box's outer ones lie at three quarters of 0.6, which is below a half.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 9, 13, 18)
    assert not found.masks[2].any(), "0.4 is below a half"
    told = found.summary()
    assert told[2]["filled"] == 0 and told[2]["mask"] == {"size": [10, 20], "counts": [200]}
    assert told[0]["filled"] == pytest.approx(found.masks[0].sum() / 50)

    stricter = instances.interpret(outputs, about, (10, 20), Thresholds(score=0.5, iou=0.5, detections=2))
    assert stricter.names == ("cat", "dog")
    np.testing.assert_allclose(stricter.scores, [0.9, 0.7])


def test_run_lengths_are_those_of_cocos_tools():
    from faster_coco_eval.core import mask as coco

    random = np.random.default_rng(3)
    for share in (0.0, 0.3, 1.0):
        mask = random.uniform(size=(7, 5)) < share
        counted = run_lengths(mask)
        np.testing.assert_array_equal(coco.decode(coco.frPyObjects(counted, 7, 5)).astype(bool), mask)
    assert run_lengths(np.array([[True, False], [True, True]])) == {"size": [2, 2], "counts": [0, 2, 1, 1]}


def test_masks_of_a_letterboxed_picture_come_back():
    """A picture of 100 x 200 in a model of 64 x 64: rows 16 to 48 are the image.

    Also of a box of which the image has only the lower half: the mask is not squeezed into what is left.
    """
    outputs = {
        "boxes": np.array([[0.25, 0.5, 0.5, 1.0], [0.0, 0.0, 0.5, 0.5], [0.8, 0, 1, 1]], np.float32),
        "scores": np.array([0.9, 0.8, 0.7], np.float32),
        "labels": np.array([1, 0, 0], np.float32),
        "masks": np.stack([np.ones((8, 8)), np.repeat([0.0, 1.0], [6, 2])[:, None] * np.ones(8), np.ones((8, 8))]),
        "count": np.float32(3),
    }
    about = About(task="instances", labels=("cat", "dog"), image_size=(64, 64), resize="letterbox")
    found = instances.interpret(outputs, about, (100, 200), Thresholds())
    np.testing.assert_allclose(found.pixel_boxes, [[0, 100, 50, 200], [0, 0, 50, 100]], atol=1e-3)
    first, second = np.argwhere(found.masks[0]), np.argwhere(found.masks[1])
    np.testing.assert_array_equal([first.min(0), first.max(0)], [(0, 100), (49, 199)])
    # The box spans rows -50 to 50 of the image; the last quarter of its mask begins at 25, half a cell is soft.
    assert abs(second[:, 0].min() - 25) <= 1 and second[:, 0].max() == 49


@pytest.fixture(scope="module")
def clumsy(truth_of):
    """All objects but the last of each image, their boxes and masks moved aside by one pixel."""

    def predict(image, *, score):
        truth = truth_of(image)
        count = max(1, len(truth["labels"]) - 1)
        labels = truth["labels"][:count]
        return Instances(
            np.clip(truth["boxes"][:count] + np.float32(1 / 64), 0, 1),
            np.linspace(0.9, 0.4, count, dtype=np.float32),
            labels,
            tuple(CLASSES[label] for label in labels),
            image.shape[:2],
            np.roll(truth["masks"][:count], (1, 1), axis=(1, 2)),
        )

    return predict


def test_boxes_and_masks_are_both_scored(scenes, clumsy, truth_of):
    scored = instances.score(clumsy, scenes, CLASSES)
    assert {instances.MAIN, instances.KEPT, "AP", "AP50"} <= scored.metrics.keys()
    assert 0 < scored.metrics["mask_AP"] < 1 and 0 < scored.metrics["AP"] < 1

    def perfect(image, *, score):
        truth = truth_of(image)
        names = tuple(CLASSES[label] for label in truth["labels"])
        ones = np.ones(len(names), np.float32)
        return Instances(truth["boxes"], ones, truth["labels"], names, image.shape[:2], truth["masks"])

    best = instances.score(perfect, scenes, CLASSES).metrics
    assert best["AP"] == best["mask_AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(("ending", "kind", "prefix"), [("", "segm", "mask_"), ("_boxes", "bbox", "")])
def test_what_is_kept_scores_the_same_with_cocos_own_tools(scenes, clumsy, ending, kind, prefix):
    """Boxes as well as masks, from files as JSON holds them."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    scored = instances.score(clumsy, scenes, CLASSES, keep=True)
    kept = json.loads(json.dumps({"truth": scored.truth, "results": scored.results[ending]}))
    truth = COCO()
    truth.dataset = kept["truth"]
    truth.createIndex()
    scorer = COCOeval(truth, truth.loadRes(kept["results"]), kind)
    scorer.evaluate(), scorer.accumulate(), scorer.summarize()
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium")
    got = [-1 if np.isnan(value := scored.metrics[prefix + name]) else value for name in names]
    np.testing.assert_allclose(got, scorer.stats[:5], atol=1e-9)
    assert 0 < scorer.stats[0] < 1

"""Classes of pixels from a model's outputs, their scores, and how an exported file is compared."""

import json

import numpy as np
import pytest

from kerastransfer.data.toy import CLASSES
from kerastransfer.tasks import segmentation
from kerastransfer.tasks.about import About, Thresholds
from kerastransfer.tasks.segmentation import Segmentation, classes_at

LABELS = ["background", *CLASSES]


def test_classes_are_those_of_scaled_probabilities():
    import tensorflow as tf

    probabilities = np.random.default_rng(2).dirichlet(np.ones(4), (7, 9)).astype(np.float32)
    for size in ((30, 50), (7, 9), (1, 1), (3, 40)):
        scaled = tf.image.resize(probabilities, size, antialias=True).numpy()
        first, second = np.sort(scaled, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
        sure = first - second > 1e-5
        np.testing.assert_array_equal(classes_at(probabilities, size)[sure], scaled.argmax(-1)[sure])
        assert sure.mean() > 0.9


def test_shares_of_a_segmentation():
    classes = np.array([[0, 2], [2, 2]], np.uint8)
    found = Segmentation(classes, np.zeros((1, 1, 3), np.float32), ("background", "cat", "dog"))
    assert found.summary() == [{"label": "background", "fraction": 0.25}, {"label": "dog", "fraction": 0.75}]
    assert found.in_words() == "dog 75.0%"
    empty = Segmentation(np.zeros((2, 2), np.uint8), np.zeros((1, 1, 3), np.float32), ("background", "cat", "dog"))
    assert empty.in_words() == "nothing"


def test_a_map_of_a_letterboxed_picture_loses_its_border():
    """A picture of 100 x 200 in a model of 64 x 64: rows 16 to 48 are the image, the lower half of it a dog."""
    probabilities = np.zeros((64, 64, 2), np.float32)
    probabilities[16:48, :, 0] = probabilities[..., 1] = 0.9
    probabilities[32:48, :, 0] = 0
    probabilities[16:32, :, 1] = 0.1
    about = About(task="segmentation", labels=("background", "dog"), image_size=(64, 64), resize="letterbox")
    found = segmentation.interpret({"segmentation": probabilities}, about, (100, 200), Thresholds())
    assert found.probabilities.shape == (32, 64, 2)
    np.testing.assert_array_equal(found.segmentation, np.repeat([0, 1], 50)[:, None] * np.ones((1, 200)))


@pytest.mark.parametrize("labels", [LABELS, ["background", "moon", *reversed(CLASSES)]])
def test_a_perfect_segmenter_in_any_order_of_classes(labels, scenes, perfect_segmenter):
    scored = segmentation.score(perfect_segmenter(labels), scenes, labels)
    assert scored.metrics["iou_min"] == scored.metrics["iou_dataset"] == 1.0
    assert scored.metrics["images"] == len(scenes)
    assert scored.per_image == {sample.name: 1.0 for sample in scenes.samples}
    assert {segmentation.MAIN, segmentation.KEPT} <= scored.metrics.keys()
    assert scored.results == {} and scored.truth is None


def test_pixels_of_a_class_that_the_model_does_not_know_are_void(scenes, perfect_segmenter):
    labels = ["background", "disc"]
    assert segmentation.score(perfect_segmenter(labels), scenes, labels).metrics["iou/disc"] == 1.0


def test_a_blind_segmenter_scores_nothing(scenes):
    def blind(image):
        return Segmentation(np.zeros(image.shape[:2], np.uint8), np.zeros(0), tuple(LABELS))

    scores = segmentation.score(blind, scenes, LABELS).metrics
    assert scores["iou_mean"] == scores["iou_dataset"] == 0.0


def test_what_is_kept_scores_the_same_with_cocos_own_tools(scenes, perfect_segmenter):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    from pycocotools import mask as coder
    from pycocotools.coco import COCO

    def shifted(image):
        found = perfect_segmenter(LABELS)(image)
        return Segmentation(np.roll(found.segmentation, 3, axis=1), found.probabilities, found.names)

    scored = segmentation.score(shifted, scenes, LABELS, keep=True)
    kept = json.loads(json.dumps({"truth": scored.truth, "results": scored.results[""]}))
    truth = COCO()
    truth.dataset = kept["truth"]
    truth.createIndex()
    found = truth.loadRes(kept["results"])
    names = {number: category["name"] for number, category in truth.cats.items()}
    assert list(names.values()) == list(CLASSES)
    for image in truth.imgs.values():
        overlaps = {}
        for category in names:
            masks = [
                [one["segmentation"] for one in side.loadAnns(side.getAnnIds(image["id"], category))]
                for side in (found, truth)
            ]
            if any(masks):
                overlaps[category] = float(coder.iou(*masks, [0])[0, 0]) if all(masks) else 0.0
        assert np.mean(list(overlaps.values())) == pytest.approx(scored.per_image[image["file_name"]])
    assert 0 < scored.metrics["iou_min"] < scored.metrics["iou_max"] < 1


ABOUT = About(task="segmentation", labels=("background", "cat"), image_size=(10, 10))


def halves(share):
    """A map of 10 x 10 whose first rows, so many in all, are foreground."""
    foreground = np.zeros((10, 10), np.float32)
    foreground.ravel()[: round(100 * share)] = 0.8
    return {"segmentation": np.stack([np.full_like(foreground, 0.5), foreground], axis=-1)}


def test_how_far_a_file_is_from_keras_and_where_its_foreground_vanished():
    expected = [halves(0.5), halves(0.02), halves(0.0)]
    apart, counts = segmentation.differences(expected, expected, ABOUT)
    assert apart == {"segmentation": {"maximum": 0.0, "mean": 0.0}}
    assert counts == {"detections": 2, "missing": 0, "extra": 0}
    apart, counts = segmentation.differences(expected, [halves(0.4), halves(0.0), halves(0.0)], ABOUT)
    assert counts == {"detections": 2, "missing": 1, "extra": 0}
    assert apart["segmentation"]["maximum"] == pytest.approx(0.8)
    assert apart["segmentation"]["mean"] == pytest.approx(0.8 * (10 + 2) / 600)

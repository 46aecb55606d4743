"""Scores of predictors whose answers are known, with classes in another order or unknown."""

import dataclasses

import numpy as np
import pytest

from kerastransfer.data.toy import CLASSES, toy
from kerastransfer.errors import UserError
from kerastransfer.tasks import scoring
from kerastransfer.tasks.prediction import Detections, Segmentation

SCENES = toy(seed=5, count=6, image_size=64)
TRUTH = {sample.read()["image"].tobytes(): sample.read() for sample in SCENES.samples}


def perfect_detector(labels):
    def predict(image, *, score):
        truth = TRUTH[image.tobytes()]
        numbers = np.array([labels.index(CLASSES[label]) for label in truth["labels"]], np.int32)
        names = tuple(labels[number] for number in numbers)
        return Detections(truth["boxes"], np.ones(len(numbers), np.float32), numbers, names, image.shape[:2])

    return predict


def perfect_segmenter(labels):
    names = ("background", *CLASSES)

    def predict(image):
        number = np.array([labels.index(name) if name in labels else 0 for name in names], np.uint8)
        return Segmentation(number[TRUTH[image.tobytes()]["segmentation"]], np.zeros(0), tuple(labels))

    return predict


@pytest.mark.parametrize("labels", [list(CLASSES), [*reversed(CLASSES), "moon"]])
def test_a_perfect_detector_in_any_order_of_classes(labels):
    scores = scoring.score(perfect_detector(labels), SCENES, "detection", labels)
    assert scores["AP"] == pytest.approx(1.0)
    assert scores["AP50/star"] == pytest.approx(1.0)


@pytest.mark.parametrize("labels", [["background", *CLASSES], ["background", "moon", *reversed(CLASSES)]])
def test_a_perfect_segmenter_in_any_order_of_classes(labels):
    scores = scoring.score(perfect_segmenter(labels), SCENES, "segmentation", labels)
    assert scores["iou_min"] == scores["iou_dataset"] == 1.0
    assert scores["images"] == len(SCENES)


def test_pixels_of_a_class_that_the_model_does_not_know_are_void():
    labels = ["background", "disc"]
    scores = scoring.score(perfect_segmenter(labels), SCENES, "segmentation", labels)
    assert scores["iou/disc"] == 1.0
    assert scoring.unknown_classes(SCENES, "segmentation", labels) == ("square", "triangle", "star")


def test_a_blind_segmenter_scores_nothing():
    labels = ["background", *CLASSES]
    scores = scoring.score(
        lambda image: Segmentation(np.zeros(image.shape[:2], np.uint8), np.zeros(0), tuple(labels)),
        SCENES,
        "segmentation",
        labels,
    )
    assert scores["iou_mean"] == scores["iou_dataset"] == 0.0


def test_no_class_in_common_is_the_users_mistake():
    with pytest.raises(UserError, match=r"disc, square, triangle, star, the model person: none in common"):
        scoring.score(perfect_detector(["person"]), SCENES, "detection", ["person"])
    with pytest.raises(UserError, match="none in common"):
        scoring.score(perfect_segmenter(["background"]), SCENES, "segmentation", ["background", "person"])


def test_data_without_the_annotation_is_the_users_mistake():
    bare = tuple(dataclasses.replace(sample, fields=frozenset({"label"})) for sample in SCENES.samples)
    with pytest.raises(UserError, match="no image is annotated with boxes"):
        scoring.score(perfect_detector(["disc"]), dataclasses.replace(SCENES, samples=bare), "detection", ["disc"])


def test_progress_sees_every_sample():
    seen = []

    def bar(samples):
        for sample in samples:
            seen.append(sample.name)
            yield sample

    scoring.score(perfect_detector(list(CLASSES)), SCENES, "detection", CLASSES, progress=bar)
    assert seen == [sample.name for sample in SCENES.samples]

"""Scores of predictors whose answers are known, with classes in another order or unknown."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import PIL.Image
import pytest

from kerastransfer.data import datasets
from kerastransfer.data.toy import CLASSES, toy
from kerastransfer.errors import UserError
from kerastransfer.tasks import scoring
from kerastransfer.tasks.prediction import Detections, Instances, Segmentation

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


def triangle(folder, **more):
    """A COCO folder with one triangle of 800 pixels in a box of 40 x 40: small by its area, medium by its box."""
    (folder / "val2017").mkdir()
    PIL.Image.new("RGB", (100, 100)).save(folder / "val2017/1.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [10, 10, 40, 40]} | more
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [annotation],
    }
    path = folder / "instances_val2017.json"
    path.write_text(json.dumps(content))
    return path


OUTLINE = [[10, 10, 50, 10, 10, 50]]


@pytest.mark.parametrize(
    ("more", "task"),
    [
        ({"segmentation": OUTLINE, "area": 800}, "detection"),
        ({"segmentation": OUTLINE, "area": 800}, "instances"),
        ({"segmentation": OUTLINE}, "detection"),
        ({"area": 800.0}, "detection"),
    ],
)
def test_sizes_go_by_the_area_that_the_data_has(tmp_path, more, task):
    path = triangle(tmp_path, **more)
    example = datasets.load(path).samples[0].read()
    found = (example["boxes"], np.ones(1, np.float32), np.zeros(1, np.int32), ("thing",), (100, 100))

    def perfect(image, *, score):
        return Instances(*found, example["masks"]) if task == "instances" else Detections(*found)

    scores = scoring.score(perfect, datasets.load(path), task, ["thing"])
    coco, cocoeval = (pytest.importorskip(f"pycocotools.{module}") for module in ("coco", "cocoeval"))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(triangle_with_area(path))
        result = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 1.0}
        scorer = cocoeval.COCOeval(truth, truth.loadRes([result]), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    small, medium = scorer.stats[3:5]
    assert (small, medium) == (pytest.approx(1.0), -1.0)
    assert scores["AP_small"] == pytest.approx(1.0) and np.isnan(scores["AP_medium"])
    if task == "instances":
        assert scores["mask_AP_small"] == pytest.approx(1.0) and np.isnan(scores["mask_AP_medium"])


def triangle_with_area(path):
    """The json with the area that COCO requires, also where ours was read without."""
    content = json.loads(path.read_text())
    content["annotations"][0].setdefault("area", 800)
    whole = path.with_name("whole.json")
    whole.write_text(json.dumps(content))
    return str(whole)

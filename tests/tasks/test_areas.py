"""Sizes of objects in scores: small, medium and large go by the area that the data has."""

import contextlib
import io
import json

import numpy as np
import PIL.Image
import pytest

from kerastransfer.data import datasets
from kerastransfer.tasks import TASKS
from kerastransfer.tasks.detection import Detections
from kerastransfer.tasks.instances import Instances


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

    scores = TASKS[task].score(perfect, datasets.load(path), ["thing"]).metrics
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

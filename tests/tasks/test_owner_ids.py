"""Truth and predictions keep the ids and file names of the owner's COCO json, so that COCO's own tools load them."""

import json

import numpy as np
import PIL.Image
import pytest

from kerastransfer import files
from kerastransfer.data import datasets
from kerastransfer.tasks import TASKS
from kerastransfer.tasks.detection import Detections


@pytest.fixture
def owned(tmp_path):
    """(json of the owner, its data set): ids and names as no tool would choose them, categories with gaps."""
    boxes = [(7, [10, 20, 30, 40]), (90, [50, 10, 20, 20])]
    images = [{"id": 900 - n, "file_name": f"deep/photo {n}.png", "height": 80, "width": 100} for n in range(3)]
    annotations = [
        {
            "id": 10 * image["id"] + n,
            "image_id": image["id"],
            "category_id": c,
            "bbox": b,
            "area": b[2] * b[3],
            "iscrowd": 0,
        }
        for image in images
        for n, (c, b) in enumerate(boxes)
    ]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 90, "name": "dog"}, {"id": 7, "name": "cat"}],
    }
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "instances_val.json"
    path.write_text(json.dumps(content))
    for image in images:
        photo = tmp_path / "val" / image["file_name"]
        photo.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (100, 80)).save(photo)
    return path, datasets.load(tmp_path)


def right(names):
    """A detector that finds both objects, with labels in its own order."""

    def predict(image, *, score=None):
        boxes = np.array([[20, 10, 60, 40], [10, 50, 30, 70]]) / [80, 100, 80, 100]
        labels = np.array([names.index("cat"), names.index("dog")])
        return Detections(boxes.astype(np.float32), np.array([0.9, 0.8], np.float32), labels, ("cat", "dog"), (80, 100))

    return predict


@pytest.mark.parametrize("names", [("cat", "dog"), ("dog", "zebra", "cat")])
def test_predictions_load_beside_the_owners_json(names, owned, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path, dataset = owned
    scored = TASKS["detection"].score(right(names), dataset, names, keep=True)
    assert scored.metrics["AP"] == pytest.approx(1)
    assert scored.metrics["AP50/cat"] == scored.metrics["AP50/dog"] == pytest.approx(1)
    files.write_json(tmp_path / "yolo.json", scored.results[""])
    owner = COCO(str(path))
    scorer = COCOeval(owner, owner.loadRes(str(tmp_path / "yolo.json")), "bbox")
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    assert scorer.stats[0] == pytest.approx(1)
    truth = {image["id"]: image["file_name"] for image in scored.truth["images"]}
    assert truth == {900 - n: f"deep/photo {n}.png" for n in range(3)}
    ids = {category["name"]: category["id"] for category in scored.truth["categories"]}
    assert (ids["cat"], ids["dog"]) == (7, 90) and ids.get("zebra", 91) == 91


def test_images_of_two_files_with_the_same_ids_are_numbered(owned):
    import dataclasses

    _, dataset = owned
    samples = tuple(dataclasses.replace(sample, owner=(1, "x.png")) for sample in dataset)
    scored = TASKS["detection"].score(
        right(("cat", "dog")), dataclasses.replace(dataset, samples=samples), ("cat", "dog")
    )
    assert [image["id"] for image in scored.truth["images"]] == [1, 2, 3]
    assert [image["file_name"] for image in scored.truth["images"]] == [sample.name for sample in dataset]

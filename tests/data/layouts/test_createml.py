import json

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.errors import UserError


def box(x=6, y=7, width=6, height=10, label="cat"):
    return {"label": label, "coordinates": {"x": x, "y": y, "width": width, "height": height}}


def entry(name, *boxes):
    return {"image": name, "annotations": list(boxes)}


def write(path, *entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(entries)))


def test_boxes_by_their_centres(tmp_path, draw):
    for name in "abc":
        draw(tmp_path / f"{name}.jpg")
    write(tmp_path / "annotations.json", entry("a.jpg", box(), box(23, 12, 6, 4, "dog")), entry("b.jpg"))
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.classes) == ("createml", ("cat", "dog"))
    assert {s.name: sorted(s.fields) for s in dataset} == {"a": ["boxes"], "b": ["boxes"], "c": []}
    example = dataset[0].read()
    np.testing.assert_allclose(example["boxes"] * [20, 30, 20, 30], [[2, 3, 12, 9], [10, 20, 14, 26]], atol=1e-5)
    assert (example["labels"].tolist(), len(dataset[1].read()["boxes"])) == ([0, 1], 0)


def test_as_roboflow_exports_it(tmp_path, draw):
    for split in ("train", "valid", "test"):
        draw(tmp_path / "export" / split / "a.jpg")
        boxes = () if split == "test" else (box(),)
        write(tmp_path / "export" / split / "_annotations.createml.json", entry("a.jpg", *boxes))
    dataset = datasets.load(tmp_path)
    assert {s.name: s.split for s in dataset} == {"train/a": "train", "valid/a": "val", "test/a": "test"}
    assert all(sample.fields == {"boxes"} for sample in dataset)
    assert dataset.notes == ("export/ is read, the only folder here in layout createml",)
    assert len(datasets.load(tmp_path / "export/train/_annotations.createml.json")) == 1


def test_coco_beside_it_is_named_too(tmp_path, draw):
    draw(tmp_path / "train/a.jpg")
    write(tmp_path / "train/_annotations.createml.json", entry("a.jpg", box()))
    told = {"images": [{"id": 0, "file_name": "a.jpg"}], "annotations": [], "categories": [{"id": 0, "name": "cat"}]}
    (tmp_path / "train/_annotations.coco.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="can be read as coco and as createml; choose with"):
        datasets.load(tmp_path)
    assert datasets.format_of(tmp_path / "train/_annotations.coco.json") == "coco"


def test_lists_of_other_tools_are_not_taken_for_it(tmp_path, draw):
    draw(tmp_path / "a.jpg")
    studio = {"id": 1, "annotations": [{"result": []}], "data": {"image": "a.jpg"}}
    boxes = {"image": "a.jpg", "annotations": [{"label": "cat", "bbox": [1, 2, 3, 4]}]}
    for told in (studio, boxes):
        write(tmp_path / "list.json", told)
        with pytest.raises(UserError, match="no known layout"):
            datasets.load(tmp_path)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (entry("a.jpg", box(label="")), "an annotation has no label"),
        (entry("a.jpg", {"label": "cat"}), "an annotation has no coordinates x, y, width, height"),
        (entry("a.jpg", 5), "an annotation has no label"),
        (entry("a.jpg", box(x="6")), "no number of pixels"),
        (entry("a.jpg", box(x=10**400)), "no number of pixels"),
        (entry("a.jpg", box(width=-6)), "has no area"),
        (entry("a.jpg", box(x=500)), "outside the image"),
        ({"image": "a.jpg", "annotations": None}, "it has no list of annotations"),
        (entry("/a.jpg", box()), "outside the folder of the data set"),
        (entry("gone.jpg", box()), "image gone.jpg is missing"),
        (entry(None, box()), "the name of its image is empty"),
    ],
)
def test_what_is_bad_is_named(tmp_path, draw, broken, reason):
    for name in "abc":
        draw(tmp_path / f"{name}.jpg")
    write(tmp_path / "annotations.json", entry("b.jpg", box()), entry("c.jpg", box()), broken)
    dataset = datasets.load(tmp_path)
    assert [sample.name for sample in dataset.having("boxes")] == ["b", "c"]
    assert len(dataset.bad) == 1 and reason in dataset.bad[0].reason, dataset.bad


def test_what_is_refused(tmp_path, draw):
    draw(tmp_path / "a.jpg")
    write(tmp_path / "annotations.json", entry("a.jpg", box(0.2, 0.3, 0.1, 0.1)))
    with pytest.raises(UserError, match="they are fractions of the image; pixels are needed"):
        datasets.load(tmp_path)
    (tmp_path / "annotations.json").write_text('[{"image": "a.jpg", "annotations": [')
    with pytest.raises(UserError, match=r"annotations\.json is not a readable json"):
        datasets.load(tmp_path)

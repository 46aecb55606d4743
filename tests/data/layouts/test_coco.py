import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from kerastransfer.data import datasets, inside
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

# An integer that no float64 holds.
HUGE = int("9" * 400)


def miniature(folder, draw, annotations, images=1, **content):
    """A COCO folder of 20 x 30 images with ids 1.., categories 3 and 7."""
    count = images if isinstance(images, int) else len(images)
    for k in range(count):
        draw(folder / "val2017" / f"{k + 1}.png")
    content = {
        "images": [{"id": k + 1, "file_name": f"{k + 1}.png", "height": 20, "width": 30} for k in range(count)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": annotations,
    } | content
    if not isinstance(images, int):
        content["images"] = images
    (folder / "annotations").mkdir()
    path = folder / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(content))
    return path


def box(x, y, width, height, category=3, image=1, **more):
    return {"image_id": image, "category_id": category, "bbox": [x, y, width, height], "iscrowd": 0} | more


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised in pycocotools itself
def test_the_real_folder_agrees_with_pycocotools(shared_data):
    dataset = datasets.load(shared_data / "coco", check=False)
    assert (len(dataset), len(dataset.classes), dataset.classes[0], dataset.classes[-1]) == (
        189,
        80,
        "person",
        "toothbrush",
    )
    assert [sum(s.split == split for s in dataset.samples) for split in ("train", "val")] == [89, 100]
    reference = COCO(shared_data / "coco/annotations/instances_val2017.json")
    seen = 0
    for image in list(reference.imgs.values())[::6]:
        annotations = reference.imgToAnns[image["id"]]
        sample = next(s for s in dataset.samples if s.name == f"val2017/{image['id']:012d}")
        example = sample.read()
        scale = [image["height"], image["width"]] * 2
        for k, annotation in enumerate(annotations):
            x, y, width, height = annotation["bbox"]
            np.testing.assert_allclose(example["boxes"][k] * scale, [y, x, y + height, x + width], atol=1e-3)
            np.testing.assert_array_equal(example["masks"][k], reference.annToMask(annotation))
            assert dataset.classes[example["labels"][k]] == reference.cats[annotation["category_id"]]["name"]
            assert example["crowd"][k] == annotation["iscrowd"]
        assert len(example["boxes"]) == len(annotations)
        seen += len(annotations)
    assert seen > 100


@pytest.mark.slow
def test_real_counts(shared_data):
    for split, objects, crowd, empty in (("train", 1038, 13, 0), ("val", 914, 10, 2)):
        dataset = datasets.load(shared_data / f"coco/annotations/instances_{split}2017.json", check=False)
        examples = [sample.read() for sample in dataset.samples]
        assert sum(len(e["labels"]) for e in examples) == objects
        assert sum(e["crowd"].sum() for e in examples) == crowd
        assert sum(not len(e["labels"]) for e in examples) == empty
        bare = next((e for e in examples if not len(e["labels"])), None)
        if bare is not None:
            assert bare["masks"].shape == (0, *bare["image"].shape[:2])
            assert not bare["segmentation"].any()


def test_crowds_are_void_and_small_objects_lie_on_large_ones(tmp_path, draw):
    def square(x1, y1, x2, y2):
        return [[x1, y1, x2, y1, x2, y2, x1, y2]]

    runs = {"size": [20, 30], "counts": [0, 200, 400]}  # columns 0 to 9
    miniature(
        tmp_path,
        draw,
        [
            box(22, 2, 4, 4, 7, segmentation=square(22, 2, 26, 6)),
            box(20, 0, 10, 20, 3, segmentation=square(20, 0, 30, 20)),
            box(0, 0, 10, 20, 3, iscrowd=1, segmentation=runs),
            box(12, 0, 6, 4, 7, segmentation=square(12, 0, 14, 4) + square(16, 0, 18, 4)),
        ],
    )
    dataset = datasets.load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.segmentation_classes == ("background", "cat", "dog")
    example = dataset.samples[0].read()
    np.testing.assert_array_equal(example["labels"], [1, 0, 0, 1])
    np.testing.assert_array_equal(example["crowd"], [False, False, True, False])
    segmentation = example["segmentation"]
    assert (segmentation[:, :10] == VOID).all()
    assert (segmentation[3:5, 23:25] == 2).all()
    assert (segmentation[10:, 20:] == 1).all()
    np.testing.assert_array_equal(segmentation[1, 10:20], [0, 0, 2, 2, 0, 0, 2, 2, 0, 0])


def test_boxes_alone(tmp_path, draw):
    path = miniature(tmp_path, draw, [box(3, 4, 6, 10)], images=2)
    for data in (tmp_path, path):
        dataset = datasets.load(data)
        assert [sample.name for sample in dataset.samples] == ["val2017/1", "val2017/2"]
        assert all(sample.fields == {"boxes"} for sample in dataset.samples)
        np.testing.assert_allclose(dataset.samples[0].read()["boxes"], [[0.2, 0.1, 0.7, 0.3]], atol=1e-6)
        empty = dataset.samples[1].read()
        assert (empty["boxes"].shape, empty["boxes"].dtype) == ((0, 4), np.float32)
        assert (empty["labels"].shape, empty["labels"].dtype) == ((0,), np.int32)
        assert (empty["crowd"].shape, empty["crowd"].dtype) == ((0,), bool)


@pytest.mark.parametrize("extra", [{"id": 0, "name": "cat", "supercategory": "none"}, {"id": 0, "name": "background"}])
def test_categories_of_no_object_that_exporters_add_are_left_out(extra, tmp_path, draw):
    categories = [extra, {"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    outline = {"segmentation": [[3, 4, 9, 4, 9, 12]]}
    miniature(tmp_path, draw, [box(3, 4, 6, 8, **outline)], categories=categories)
    dataset = datasets.load(tmp_path)
    assert dataset.classes == ("cat", "dog") and dataset.category_ids == {"cat": 3, "dog": 7}
    assert dataset[0].read()["labels"].tolist() == [0]


def test_areas_are_those_that_the_json_states(tmp_path, draw):
    square = [[2, 2, 6, 2, 6, 6, 2, 6]]
    stated = [box(2, 2, 4, 4, area=15.5, segmentation=square), box(2, 2, 4, 4, area=9, segmentation=square)]
    counted = [box(2, 2, 4, 4, image=2, segmentation=square), box(2, 2, 4, 4, image=2, area=9, segmentation=square)]
    miniature(tmp_path, draw, [*stated, *counted], images=2)
    first, second = (sample.read() for sample in datasets.load(tmp_path).samples)
    np.testing.assert_array_equal(first["area"], np.float32([15.5, 9]))
    np.testing.assert_array_equal(second["area"], np.float32([16, 16]))  # one is not stated, so both are counted


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (box(25, 4, 80, 4), "outside the image of 30 x 20"),
        (box(-31, 4, 8, 4), "outside the image of 30 x 20"),
        (box(3, 4, 0, 4), "no area"),
        (box(float("nan"), 4, 3, 4), "outside"),
        (box(3, 4, 5, 4, category=5), "category_id 5 is not in"),
        (box(3, 4, 5, 4, area=-1), "area -1"),
        (box(3, 4, 5, 4, area=float("nan")), "area nan"),
        (box(3, 4, 5, 4, area="big"), "ValueError"),
        ({"image_id": 1, "category_id": 3}, "KeyError: 'bbox'"),
        (box(3, 4, 5, 4, segmentation=[[1, 2, 3, 4]]), "polygon of 4 numbers"),
        (box(3, 4, 5, 4, segmentation=[[1, 2, 3, 4, 500, 6]]), "polygon outside"),
        (box(3, 4, 5, 4, segmentation={"size": [30, 20], "counts": [600]}), "run-length mask of size"),
        (box(3, 4, 5, 4, segmentation={"size": [20, 30], "counts": [500]}), "add up to 500"),
        (box(3, 4, 5, 4, segmentation={"size": [20, 30], "counts": "garbage"}), "malformed"),
        (box(1, 2, HUGE, 4), "a coordinate that is too large for a number of pixels"),
        (box(1.5, 2, HUGE, 4), "a number that is too large"),
        (box(3, 4, 5, 4, area=HUGE), "a number that is too large"),
        (box(3, 4, 5, 4, segmentation=[[1, 2, 3, 4, HUGE, 6]]), "a coordinate that is too large"),
    ],
)
def test_a_bad_sample_is_left_out_and_named(tmp_path, draw, annotation, reason):
    miniature(tmp_path, draw, [annotation], images=2)
    dataset = datasets.load(tmp_path)
    assert [sample.name for sample in dataset.samples] == ["val2017/2"]
    assert dataset.bad[0].name == "val2017/1"
    assert reason in dataset.bad[0].reason


def test_a_box_is_cut_at_the_border_and_left_out_where_nothing_remains(tmp_path, draw):
    """As Darknet and Ultralytics do. Flags, areas and masks stay with their objects."""
    square = [[40, 4, 50, 4, 50, 14, 40, 14]]
    out = box(40, 4, 10, 10, 3, area=100, segmentation=square)
    across = box(24, 10, 12, 6, 7, iscrowd=1, area=72, segmentation=[[24, 10, 36, 10, 36, 16, 24, 16]])
    inside = box(2, 2, 4, 4, 3, area=16, segmentation=[[2, 2, 6, 2, 6, 6, 2, 6]])
    miniature(tmp_path, draw, [out, across, inside, box(2, 2, 4, 4, image=2, area=16, segmentation=square)], images=2)
    dataset = datasets.load(tmp_path)
    assert dataset.bad == ()
    example = dataset.samples[0].read()
    np.testing.assert_allclose(example["boxes"], [[0.5, 0.8, 0.8, 1], [0.1, 2 / 30, 0.3, 0.2]], atol=1e-6)
    assert example["labels"].tolist() == [1, 0]
    assert example["crowd"].tolist() == [True, False]
    assert example["area"].tolist() == [72, 16]
    assert example["masks"].sum(axis=(1, 2)).tolist() == [36, 16]
    assert dataset.notes == (
        "1 image (val2017/1): a box outside the image is left out",
        "1 image (val2017/1): a box that reaches out of the image is cut at its border",
    )


def test_a_hair_of_a_box_is_not_left(tmp_path, draw):
    """In float32 it has no area."""
    miniature(tmp_path, draw, [box(30 - 1e-7, 4, 6, 4), box(2, 2, 4, 4)])
    dataset = datasets.load(tmp_path)
    assert (len(dataset[0].read()["boxes"]), dataset.bad) == (1, ())


def test_a_border_missed_by_rounding_is_moved(tmp_path, draw):
    miniature(tmp_path, draw, [box(20.5, 10, 10, 10.4)])
    dataset = datasets.load(tmp_path)
    np.testing.assert_allclose(dataset.samples[0].read()["boxes"], [[0.5, 20.5 / 30, 1, 1]], atol=1e-6)
    assert dataset.notes == ()


def test_contradictions_between_files(tmp_path, draw):
    path = miniature(tmp_path, draw, [box(3, 4, 6, 10), box(1, 1, 2, 2, image=77)], images=3)
    content = json.loads(path.read_text())
    content["images"][0]["width"] = 31
    (tmp_path / "val2017/2.png").unlink()
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"3 of 4 samples are bad, more than --max-bad 0.01 allows"):
        datasets.load(tmp_path)
    reasons = {one.name: one.reason for one in datasets.load(tmp_path, max_bad=0.8).bad}
    assert reasons["val2017/1"] == "image of 30 x 20 pixels, but the json says 31 x 20"
    assert reasons["val2017/2"] == "image 2.png is missing"
    assert "annotation None" in reasons


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"images": []}', '{"images": [{}], "annotations": [], "categories": []}']
)
def test_a_json_that_is_no_coco(tmp_path, content):
    (tmp_path / "some.json").write_text(content)
    with pytest.raises(UserError, match=r"some.json(.(?!\n))+$"):
        datasets.load(tmp_path / "some.json")


@pytest.mark.parametrize("absolute", [False, True])
def test_an_image_outside_the_folder_is_not_read(tmp_path, draw, absolute):
    """A json may name any file of the machine; what it names would end in a report."""
    draw(tmp_path / "secret/private.png")
    path = miniature(tmp_path / "data", draw, [], images=2)
    content = json.loads(path.read_text())
    outside = tmp_path / "secret/private.png" if absolute else "../../secret/private.png"
    content["images"][1]["file_name"] = str(outside)
    path.write_text(json.dumps(content))
    for data in (tmp_path / "data", path):
        dataset = datasets.load(data)
        assert [sample.name for sample in dataset.samples] == ["val2017/1"]
        assert len(datasets.load(data, allow_outside=True)) == 2
        assert [one.reason for one in dataset.bad] == [inside.REASON]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("home", ["images", "."])
def test_an_image_outside_does_not_hide_the_others(tmp_path, draw, absolute, home):
    """The folder of the images is not the first that is tried."""
    folder = tmp_path / "data"
    draw(tmp_path / "elsewhere/a.png")
    path = miniature(folder, draw, [], images=2)
    (folder / "images").mkdir()
    (folder / "val2017/1.png").rename(folder / home / "1.png")
    content = json.loads(path.read_text())
    content["images"][1]["file_name"] = str(tmp_path / "elsewhere/a.png") if absolute else "../../elsewhere/a.png"
    path.write_text(json.dumps(content))
    for data in (folder, path):
        dataset = datasets.load(data)
        assert ([Path(sample.name).name for sample in dataset.samples], len(dataset.bad)) == (["1"], 1)
        assert dataset.bad[0].reason == inside.REASON


def test_a_path_that_leads_back_into_the_folder_is_fine(tmp_path, draw):
    path = miniature(tmp_path, draw, [], images=2)
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "../val2017/1.png"
    content["images"][1]["file_name"] = str(tmp_path / "val2017/2.png")
    path.write_text(json.dumps(content))
    for data in (tmp_path, path):
        assert [sample.name for sample in datasets.load(data).samples] == ["val2017/1", "val2017/2"]


def test_a_class_called_background(tmp_path, draw):
    """In a segmentation that is what is no object."""
    categories = [{"id": 3, "name": "background"}, {"id": 7, "name": "cat"}]
    outline = [[3, 4, 8, 4, 8, 10, 3, 10]]
    path = miniature(tmp_path, draw, [box(3, 4, 5, 6, segmentation=outline)], categories=categories)
    with pytest.raises(UserError, match="a class is called background, which is what is no object; rename it"):
        datasets.load(tmp_path)
    content = json.loads(path.read_text())
    del content["annotations"][0]["segmentation"]
    path.write_text(json.dumps(content))
    assert datasets.load(tmp_path).classes == ("background", "cat")


IMAGE, CATEGORY = {"id": 1, "file_name": "1.png", "height": 20, "width": 30}, {"id": 3, "name": "cat"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [IMAGE | {"file_name": 5}]}, "an image's file_name is 5; text is needed"),
        ({"images": [IMAGE, IMAGE | {"id": [2]}]}, r"an image's id is \[2\]; an integer or text is needed"),
        ({"images": [IMAGE | {"id": None}]}, "an image's id is None; an integer or text"),
        ({"images": [IMAGE, IMAGE]}, "two images have the id 1"),
        ({"categories": [CATEGORY, {"id": "7", "name": "dog"}]}, "a category's id is '7'; an integer is needed"),
        ({"categories": [CATEGORY | {"id": True}]}, "a category's id is True; an integer is needed"),
        ({"categories": [CATEGORY | {"name": 7}]}, "a category's name is 7; text is needed"),
        ({"categories": [CATEGORY | {"name": "a\nb"}]}, r"the class name 'a\\nb' has .*; rename it"),
        ({"categories": [CATEGORY | {"name": "\x1b[2J"}]}, r"has a line break or a control character"),
        ({"categories": [CATEGORY | {"name": "a" * 5000}]}, "a class name of 5000 letters"),
        ({"categories": [CATEGORY | {"name": " "}]}, "a class name is empty; give the class a name"),
        (
            {"categories": [CATEGORY, {"id": 7, "name": "cat"}], "annotations": [box(3, 4, 5, 4), box(3, 4, 5, 4, 7)]},
            "2 classes are called cat; rename .*--merge.* cannot",
        ),
        ({"categories": [CATEGORY, {"id": 3, "name": "dog"}]}, "category 3 is called cat and dog; each id needs one"),
    ],
)
def test_values_of_the_wrong_type_are_named(tmp_path, draw, content, message):
    path = miniature(tmp_path, draw, [box(3, 4, 5, 4)])
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
    with pytest.raises(UserError, match=message) as caught:
        datasets.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"image_id": [1], "category_id": 3, "bbox": [3, 4, 5, 4]}, "no image has its image_id"),
        (box(3, 4, 5, 4, category=[3]), "broken: TypeError"),
        (box(3, 4, 5, 4, bbox=7), "broken: TypeError"),
        (box(3, 4, 5, 4, bbox=["a", 4, 5, 4]), "broken: "),
        (box(3, 4, 5, 4, segmentation=7), "broken: "),
        (box(3, 4, 5, 4, segmentation=[[1, 2, {}, 4, 5, 6]]), "broken: "),
        (box(3, 4, 5, 4, segmentation={"size": 5, "counts": []}), "broken: "),
        (box(3, 4, 5, 4, segmentation={"counts": "abc"}), "broken: KeyError"),
    ],
)
def test_an_annotation_of_the_wrong_type_is_a_bad_sample(tmp_path, draw, annotation, reason):
    miniature(tmp_path, draw, [annotation], images=3)
    assert any(reason in one.reason for one in datasets.load(tmp_path, max_bad=0.9).bad)


@pytest.mark.parametrize(("key", "value"), [("height", "tall"), ("width", [30]), ("height", None)])
def test_a_size_of_the_wrong_type(tmp_path, draw, key, value):
    miniature(tmp_path, draw, [], images=[IMAGE | {key: value}])
    with pytest.raises(UserError, match="but the json says"):
        datasets.load(tmp_path)


def test_a_name_that_no_file_system_takes(tmp_path, draw):
    path = miniature(tmp_path, draw, [], images=2)
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "x" * 5000 + ".png"
    path.write_text(json.dumps(content))
    (bad,) = datasets.load(path).bad
    assert bad.reason.startswith("image ") and "cannot be decoded: " in bad.reason


def test_a_json_nested_too_deeply(tmp_path):
    (tmp_path / "some.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"some.json is not a readable json: nested too deeply"):
        datasets.load(tmp_path / "some.json")


def test_images_nowhere(tmp_path, draw):
    path = miniature(tmp_path, draw, [])
    (tmp_path / "val2017/1.png").unlink()
    with pytest.raises(UserError, match="none of its 1 images was found; put them into"):
        datasets.load(path)


def test_panoptic_json_is_refused(shared_data):
    with pytest.raises(UserError, match="panoptic"):
        datasets.load(shared_data / "coco128/panoptic_segmentation/annotations/panoptic_val2017.json")

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets, recognise
from kerastransfer.data.dataset import BadSample, BadSampleError, Dataset, Sample, part
from kerastransfer.errors import UserError

REAL = {
    "PennFudanPed": "penn_fudan",
    "coco": "coco",
    "coco/annotations": "coco",
    "coco/annotations/instances_val2017.json": "coco",
    "coco128": "yolo_txt",
    "coco128/object_detection": "yolo_txt",
    "coco128/instance_segmentation": "yolo_txt",
    "coco_as_voc": "voc",
    "coco_as_voc/VOCdevkit": "voc",
    "coco_as_voc/VOCdevkit/VOC2012": "voc",
    "oxford-iiit-pet": "oxford_pet",
    "Kvasir-SEG": "images_masks",
    "Kvasir-SEG/train": "images_masks",
    "Kvasir-SEG/validation": "images_masks",
    "CamVid": "camvid",
    "BCCD": "voc",
    "dsb2018": "dsb2018",
    "dsb2018/stage1_train": "dsb2018",
    "clothing-dataset-small": "folder_per_class",
    "clothing-dataset-small/validation": "folder_per_class",
    "Object-Bus-Dataset": "yolo_txt",
    "Object-Bus-Dataset/data.yaml": "yolo_txt",
    "flowers17_segmentation": "folder_pairs",
    "caltech101/101_ObjectCategories": "folder_per_class",
}
DTYPES = {
    "image": np.uint8,
    "boxes": np.float32,
    "labels": np.int32,
    "crowd": bool,
    "difficult": bool,
    "truncated": bool,
    "occluded": bool,
    "hidden": np.float32,
    "area": np.float32,
    "masks": bool,
    "segmentation": np.uint8,
    "label": np.int32,
}


@pytest.mark.parametrize(("folder", "layout"), REAL.items())
def test_auto_knows_every_real_folder(shared_data, folder, layout):
    assert datasets.format_of(shared_data / folder) == layout
    assert recognise.fitting(shared_data / folder) == [layout]  # so the order of the table does not decide
    dataset = datasets.load(shared_data / folder, layout, check=False)
    names = [sample.name for sample in dataset.samples]
    assert names == sorted(set(names))
    for sample in dataset.samples[:: max(1, len(dataset) // 3)]:
        example = sample.read()
        datasets.contradiction(example, sample, dataset)
        parts = {"boxes": {"boxes", "labels", "crowd", "difficult"}}
        promised = {"image"}.union(*(parts.get(field, {field}) for field in sample.fields))
        assert example.keys() - {"truncated", "occluded", "area"} == promised
        assert "area" in example or "masks" not in example
        assert {key: example[key].dtype for key in example} == {key: DTYPES[key] for key in example}


@pytest.mark.parametrize("folder", [*REAL, "CUB_200_2011", "VOCdevkit"])
def test_annotations_are_those_of_the_example(shared_data, folder):
    """For every combination of fields that is asked for, and no pixel of an image is decoded for it."""
    dataset = datasets.load(shared_data / folder, check=False)
    for sample in dataset.samples[:: max(1, len(dataset) // 3)]:
        example = sample.read()
        for fields in (
            (),
            ("boxes",),
            ("masks", "label"),
            ("segmentation",),
            ("boxes", "masks", "segmentation", "label"),
        ):
            found = sample.annotations(*fields)
            assert found.pop("size") == example["image"].shape[:2]
            asked = part(example, sample.fields.intersection(fields))
            assert asked.keys() - found.keys() <= {"area"} and found.keys() <= asked.keys()
            for name in found:
                np.testing.assert_array_equal(found[name], asked[name])


def test_annotations_of_any_read():
    example = sample("x").read()
    found = sample("x", fields=("boxes", "label")).annotations("boxes", "masks", "label")
    assert found.keys() == {"size", "boxes", "labels", "crowd", "difficult", "label"}
    assert found["size"] == (4, 5)
    np.testing.assert_array_equal(found["boxes"], example["boxes"])


@pytest.mark.parametrize("inner", ["images", "annotations"])
def test_of_a_part_of_a_data_set_the_folder_above_is_named(inner, tmp_path):
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images/a.jpg")
    (tmp_path / "annotations/a.xml").write_text("<annotation><filename>a.jpg</filename></annotation>")
    with pytest.raises(UserError, match=r"part of a data set; give the folder above it, .*, which is voc"):
        datasets.format_of(tmp_path / inner)


@pytest.mark.parametrize(
    ("images", "annotations", "other"),
    [
        ("VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2012/Annotations", "a.jpg"),
        ("images", "annotations", "b.jpg"),
        ("images", "annotations", "b.txt"),
    ],
)
def test_a_neighbour_of_a_data_set_is_no_part_of_it(images, annotations, other, tmp_path):
    """The folder above is a data set because of other folders."""
    for folder in (images, annotations, "other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / annotations / "a.xml").write_text("<annotation><filename>a.jpg</filename></annotation>")
    for path in (tmp_path / images / "a.jpg", tmp_path / "other" / other):
        Image.new("RGB", (8, 8)).save(path, "JPEG")
    assert datasets.format_of(tmp_path) == "voc"
    with pytest.raises(UserError, match="other is in no known layout"):
        datasets.format_of(tmp_path / "other")


@pytest.mark.parametrize(
    "folder",
    [
        "PennFudanPed/PNGImages",
        "PennFudanPed/PedMasks",
        "BCCD/Annotations",
        "coco128/images",
        "coco128/semantic_segmentation",
        "coco/val2017",
    ],
)
def test_auto_does_not_guess(shared_data, folder):
    with pytest.raises(UserError, match="is a part of a data set"):
        datasets.format_of(shared_data / folder)


def sample(name, read=None, fields=("boxes",), split=None):
    def good():
        return {
            "image": np.zeros((4, 5, 3), np.uint8),
            "boxes": np.array([[0, 0, 1, 1]], np.float32),
            "labels": np.zeros(1, np.int32),
            "crowd": np.zeros(1, bool),
            "difficult": np.zeros(1, bool),
            "masks": np.ones((1, 4, 5), bool),
            "segmentation": np.ones((4, 5), np.uint8),
            "label": np.asarray(0, np.int32),
        }

    return Sample(name, read or good, frozenset(fields), split)


def broken():
    raise BadSampleError("it is broken")


@pytest.fixture
def drawn(monkeypatch):
    """Puts samples in the place of what a folder holds."""

    def put(*samples, bad=()):
        dataset = Dataset("drawn", samples, ("thing",), ("background", "thing"), ("kind",), tuple(bad))
        monkeypatch.setattr(datasets, "_read", lambda data, layout: dataset)

    return put


def test_one_bad_sample_never_stops(drawn):
    drawn(sample("a", broken), sample("b"))
    dataset = datasets.load("toy")
    assert ([s.name for s in dataset.samples], dataset.bad) == (["b"], (BadSample("a", "it is broken"),))
    assert len(datasets.load("toy", check=False)) == 2
    drawn(sample("a", broken))
    with pytest.raises(UserError, match=r"^toy: no sample can be used; a: it is broken\. Fix the data$"):
        datasets.load("toy")


def test_more_than_the_share_stops(drawn):
    good = [sample(f"good{k:03d}") for k in range(197)]
    bad = [sample(f"bad{k}", broken) for k in range(2)]
    drawn(*good, *bad, bad=[BadSample("xml", "broken xml")])
    with pytest.raises(UserError, match=r"^toy: 3 of 200 .* xml: broken xml; bad0: it is broken; bad1: it is broken\."):
        datasets.load("toy")
    assert len(datasets.load("toy", max_bad=0.015).bad) == 3
    drawn(*good, *bad, sample("good197"))
    assert len(datasets.load("toy").bad) == 2


def test_samples_come_in_order_and_once(drawn):
    drawn(sample("b"), sample("a"), sample("b", broken), sample("c"))
    dataset = datasets.load("toy")
    assert [s.name for s in dataset.samples] == ["a", "b", "c"]
    assert dataset.bad == (BadSample("b", "2 images have this name; the first is kept"),)


@pytest.mark.parametrize(
    ("fields", "change", "reason"),
    [
        (["boxes"], {"labels": np.array([1], np.int32)}, "label 1, but there are 1 classes"),
        (["boxes"], {"labels": np.array([-1], np.int32)}, "label -1"),
        (["boxes"], {"labels": np.zeros(2, np.int32)}, "1 boxes, but 2 labels"),
        (["boxes"], {"crowd": np.zeros(2, bool)}, "1 boxes, but 2 crowd"),
        (["boxes"], {"difficult": np.zeros(0, bool)}, "1 boxes, but 0 difficult"),
        (["boxes"], {"occluded": np.zeros(2, bool)}, "1 boxes, but 2 occluded"),
        (["boxes"], {"area": np.zeros(2, np.float32)}, "1 boxes, but 2 area"),
        (["boxes"], {"boxes": np.array([[0, 0, 1, 2]], np.float32)}, "outside the image"),
        (["boxes"], {"boxes": np.array([[0, 0, 0, 1]], np.float32)}, "without area"),
        (["boxes", "masks"], {"masks": np.ones((1, 5, 4), bool)}, "masks (1, 5, 4)"),
        (["boxes", "masks"], {"masks": np.ones((2, 4, 5), bool)}, "masks (2, 4, 5)"),
        (["segmentation"], {"segmentation": np.full((4, 5), 2, np.uint8)}, "segmentation value 2"),
        (["segmentation"], {"segmentation": np.zeros((4, 6), np.uint8)}, "segmentation (4, 6)"),
        (["label"], {"label": np.asarray(3, np.int32)}, "image label 3"),
    ],
)
def test_contradictions(drawn, fields, change, reason):
    bad = sample("bad", lambda: sample("x").read() | change, fields)
    drawn(bad, sample("good", fields=fields))
    assert reason in datasets.load("toy").bad[0].reason


def test_what_the_user_may_get_wrong(tmp_path, draw):
    wrong = {
        (str(tmp_path / "nowhere"), "auto"): "no such file or folder",
        ("tyo", "auto"): r"no such file or folder \(did you mean toy\?\)",
        (str(tmp_path), "auto"): "is an empty folder",
        (str(tmp_path), "cocco"): "--format cocco is not known; did you mean coco?",
        (str(tmp_path), "LabelImg"): "--format LabelImg is not known; did you mean voc or yolo_txt?",
        (str(tmp_path), "yolo"): "--format yolo is not known; did you mean yolo_txt?",
        (str(tmp_path), "zzz"): "--format zzz is not known; known are auto, toy",
        (str(tmp_path), "voc"): r"is not in layout voc, which needs a folder with JPEGImages/",
        ("toy:many", "auto"): "toy takes a number",
        ("toy:0", "auto"): "toy takes a number",
        ("toy:", "auto"): "toy takes a number",
        ("toy-hard:many", "auto"): "toy-hard takes a number of images, as in toy-hard:480",
        ("toy-hrad", "auto"): r"no such file or folder \(did you mean toy-hard\?\)",
        (str(tmp_path), "toy"): "--format toy draws toy or toy-hard; give one of them",
    }
    for (data, layout), message in wrong.items():
        with pytest.raises(UserError, match=message) as caught:
            datasets.load(data, layout)
        assert "\n" not in str(caught.value)
    draw(tmp_path / "cat/1.jpg")
    draw(tmp_path / "dog/1.jpg")
    with pytest.raises(UserError, match=r"is not in layout coco, .*; it looks like folder_per_class"):
        datasets.load(tmp_path, "coco")
    with pytest.raises(UserError, match=r"is a file, but not a COCO json, a data\.yaml, a list of images, or ann"):
        datasets.load(tmp_path / "cat/1.jpg")
    (tmp_path / "voc/JPEGImages").mkdir(parents=True)
    (tmp_path / "voc/SegmentationClass").mkdir()
    with pytest.raises(UserError, match="no image was found; layout voc needs"):
        datasets.load(tmp_path / "voc")


def test_toy():
    assert {datasets.format_of(data) for data in ("toy", "toy:9", "toy-hard", "toy-hard:9")} == {"toy"}
    easy, hard = (datasets.load(data, check=False) for data in ("toy:9", "toy-hard:9"))
    assert (easy.name, len(easy), hard.name, len(hard)) == ("toy", 9, "toy-hard", 9)
    assert (easy.samples[0].read()["image"] != hard.samples[0].read()["image"]).any()
    assert [len(datasets.load(data, check=False)) for data in ("toy", "toy-hard")] == [800, 480]


def test_summary(drawn):
    crowded = sample("c", lambda: sample("x").read() | {"crowd": np.ones(1, bool)}, split="train")
    hard = sample("d", lambda: sample("x").read() | {"difficult": np.ones(1, bool)})
    drawn(sample("a", fields=("boxes", "masks", "segmentation", "label"), split="train"), sample("b"), crowded, hard)
    summary = datasets.summary(datasets.load("toy"))
    assert summary == {
        "name": "drawn",
        "samples": 4,
        "splits": {"train": 2, "none": 2},
        "fields": {"boxes": 4, "label": 1, "masks": 1, "segmentation": 1},
        "objects": {"thing": 2},
        "crowd": {"thing": 1},
        "difficult": {"thing": 1},
        "pixels": {"background": 0.0, "thing": 1.0},
        "labels": {"kind": 1},
        "image_sizes": {"smallest": [4, 5], "median": [4, 5], "largest": [4, 5]},
        "bad": [],
        "notes": [],
    }
    json.dumps(summary)


def test_progress_is_shown(drawn, capsys):
    drawn(sample("a"), sample("b"))
    datasets.load("toy", progress=True)
    assert "checking images" in capsys.readouterr().out
    datasets.load("toy")
    assert capsys.readouterr().out == ""


def test_importing_needs_no_tensorflow():
    code = "import sys; from kerastransfer.data import datasets, splits, derive; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"

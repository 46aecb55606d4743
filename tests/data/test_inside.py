"""What annotations, lists and links may reach; links are tried on YOLO txt, which lists a folder."""

import json

import numpy as np
import pytest

from kerastransfer.data import datasets, inside
from kerastransfer.errors import UserError
from kerastransfer.runs import early
from kerastransfer.runs.settings import CommonConfig


def folder_of(path, draw):
    draw(path / "images/a.jpg")
    (path / "labels").mkdir()
    for name in "ab":
        (path / f"labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.2")


def test_a_link_to_a_file_outside_is_a_bad_sample(tmp_path, draw):
    secret = draw(tmp_path / "secret/b.jpg")
    folder_of(tmp_path / "data", draw)
    (tmp_path / "data/images/b.jpg").symlink_to(secret)
    dataset = datasets.load(tmp_path / "data")
    assert [sample.name for sample in dataset] == ["a"]
    assert [(one.name, one.reason) for one in dataset.bad] == [("b", inside.REASON)]
    assert len(datasets.load(tmp_path / "data", allow_outside=True)) == 2
    # What is allowed once is not allowed for ever.
    assert len(datasets.load(tmp_path / "data")) == 1


def test_links_that_stay_and_folders_that_are_links_are_fine(tmp_path, draw):
    folder_of(tmp_path / "data", draw)
    (tmp_path / "data/images/b.jpg").symlink_to("a.jpg")
    assert len(datasets.load(tmp_path / "data")) == 2
    (tmp_path / "linked").mkdir()
    for name in ("images", "labels"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "data" / name)
    assert len(datasets.load(tmp_path / "linked")) == 2


def test_a_link_in_a_circle_is_a_bad_sample(tmp_path, draw):
    folder_of(tmp_path, draw)
    (tmp_path / "images/b.jpg").symlink_to("b.jpg")
    assert [one.name for one in datasets.load(tmp_path).bad] == ["b"]


def test_a_source_outside_is_allowed_before_a_run_too(tmp_path, draw):
    folder_of(tmp_path / "data", draw)
    yaml = tmp_path / "home/data.yaml"
    yaml.parent.mkdir()
    yaml.write_text("train: ../data/images\nnames: [cat]\n")
    config = CommonConfig(data=str(yaml), output=str(tmp_path / "run"))
    with pytest.raises(UserError, match="--allow-outside"):
        early.check("detector", config)
    config.allow_outside = True
    early.check("detector", config)
    assert datasets.format_of(yaml, allow_outside=True) == "yolo_txt"


BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
CUB = {"image_class_labels.txt": "1 1\n2 1\n", "classes.txt": "1 cat\n", "bounding_boxes.txt": "1 3 4 5 6\n2 3 4 5 6\n"}
# {layout: (pictures, texts in which NAME is a second image)}
LISTS = {
    "camvid": (
        {"train/a.png": None, "trainannot/a.png": 1},
        {"train.txt": "train/a.png trainannot/a.png\nNAME NAME\n"},
    ),
    "voc": (
        {"JPEGImages/a.jpg": None},
        {
            "Annotations/a.xml": f"<annotation><object><name>c</name>{BOX}</object></annotation>",
            "ImageSets/Main/train.txt": "a\nNAME\n",
        },
    ),
    "cub": ({"images/a.png": None}, {"images.txt": "1 a.png\n2 NAME\n", **CUB}),
    "oxford_pet": (
        {"images/Cat_1.jpg": None, "annotations/trimaps/Cat_1.png": 1},
        {"annotations/trainval.txt": "Cat_1 1 1 1\nNAME 1 1 1\n"},
    ),
}


@pytest.mark.parametrize("layout", LISTS)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_list_that_names_a_file_outside(tmp_path, draw, layout, absolute):
    data = tmp_path / "data"
    pictures, texts = LISTS[layout]
    for name, mask in pictures.items():
        draw(data / name, (20, 30) if mask is None else np.full((20, 30), mask, np.uint8))
    secret = draw(tmp_path / "secret/b.jpg")
    named = {"camvid": "../b.jpg", "voc": "../../secret/b", "cub": "../../secret/b.jpg", "oxford_pet": "../../secret/b"}
    if absolute:
        file = secret if layout in ("camvid", "cub") else secret.with_suffix("")
        named[layout] = "/b.jpg" if layout == "camvid" else str(file)
    for name, text in texts.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(text.replace("NAME", named[layout]))
    dataset = datasets.load(data, layout, max_bad=1)
    assert len(dataset) == 1 and [one.reason for one in dataset.bad] == [inside.REASON]


@pytest.mark.parametrize("name", ["", ".", "images/.."])
def test_a_name_of_no_file_is_a_bad_sample(tmp_path, draw, name):
    """Of a table of boxes, a list of labels, and a COCO json beside its images."""
    for image in "ab":
        draw(tmp_path / f"{image}.png")
    (tmp_path / "boxes.csv").write_text(
        f"filename,class,xmin,ymin,xmax,ymax\na.png,cat,3,4,9,10\n{name},cat,3,4,9,10\n"
    )
    dataset = datasets.load(tmp_path, "box_table", max_bad=1)
    assert [sample.name for sample in dataset] == ["a"] and "name of its image is empty" in dataset.bad[0].reason
    if name:
        (tmp_path / "list.csv").write_text(f"path,label\na.png,cat\nb.png,dog\n{name},cat\n")
        dataset = datasets.load(tmp_path, "image_list", max_bad=1)
        assert len(dataset) == 2 and "name of its image is empty" in dataset.bad[0].reason
    images = [{"id": number, "file_name": file} for number, file in enumerate(("a.png", "b.png", name))]
    told = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "instances_all.json").write_text(json.dumps(told))
    assert [one.reason for one in datasets.load(tmp_path, "coco", max_bad=1).bad] == ["the name of its image is empty"]

import json

import pytest

from kerastransfer.data import datasets
from kerastransfer.errors import UserError


def coco(folder, draw):
    draw(folder / "images/a.jpg")
    told = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_all.json").write_text(json.dumps(told))


def yolo(folder, draw):
    draw(folder / "images/a.jpg")
    (folder / "labels").mkdir()
    (folder / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2")


def test_two_readings_are_both_named(tmp_path, draw):
    coco(tmp_path, draw)
    yolo(tmp_path, draw)
    with pytest.raises(
        UserError, match=r"can be read as coco and as yolo_txt; choose with --format coco or --format yolo_txt$"
    ):
        datasets.load(tmp_path)
    for layout in ("coco", "yolo_txt"):
        assert len(datasets.load(tmp_path, layout)) == 1


@pytest.mark.parametrize("above", ["inner", "outer/inner"])
def test_a_data_set_lower_down(tmp_path, draw, above):
    yolo(tmp_path / above, draw)
    (tmp_path / "README.txt").write_text("hello")
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), len(dataset), dataset.name) == ("yolo_txt", 1, "inner")
    assert dataset.notes == (f"{above}/ is read, the only folder here in layout yolo_txt",)
    assert len(datasets.load(tmp_path, "yolo_txt")) == 1


def test_volumes_are_no_images(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr/a.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds volumes .* kerastransfer run genesis reads them"):
        datasets.load(tmp_path)


def test_several_data_sets_are_named(tmp_path, draw):
    for name in ("one", "two"):
        yolo(tmp_path / name, draw)
    with pytest.raises(UserError, match=r"holds 2 data sets: one \(yolo_txt\), two \(yolo_txt\); give one of these"):
        datasets.load(tmp_path)


def test_too_deep_is_not_found(tmp_path, draw):
    yolo(tmp_path / "a/b/c", draw)
    with pytest.raises(UserError, match="no known layout"):
        datasets.load(tmp_path)


def test_real_classes_one_level_down(shared_data):
    dataset = datasets.load(shared_data / "caltech101", check=False)
    assert (len(dataset), len(dataset.image_classes)) == (686, 33)
    assert dataset.notes == ("101_ObjectCategories/ is read, the only folder here in layout folder_per_class",)
    assert {sample.split for sample in dataset} == {"train", "test"}


def voc(folder, draw, stem="a"):
    draw(folder / f"JPEGImages/{stem}.jpg")
    (folder / "Annotations").mkdir()
    thing = "<name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (folder / f"Annotations/{stem}.xml").write_text(f"<annotation><object>{thing}</object></annotation>")


def test_a_folder_below_that_the_layout_itself_looks_into_is_named(tmp_path, draw):
    voc(tmp_path / "VOCdevkit/VOC2012", draw)
    assert datasets.load(tmp_path).notes == ()
    draw(tmp_path / "other/a.jpg")
    for layout in ("auto", "voc"):
        assert datasets.load(tmp_path, layout).notes == (
            "of the folders here only VOCdevkit/ is read, in layout voc; to read another, give its path",
        )


def test_real_folders_beside_the_one_that_is_read(shared_data):
    assert "of the folders here only VOCdevkit/" in datasets.load(shared_data, check=False).notes[-1]
    for folder in ("coco_as_voc", "coco", "coco128", "Kvasir-SEG", "Object-Bus-Dataset", "dsb2018", "CUB_200_2011"):
        assert not any("is read" in note for note in datasets.load(shared_data / folder, check=False).notes)


def test_coco_as_roboflow_exports_it(tmp_path, draw):
    for split in ("train", "valid"):
        draw(tmp_path / split / "a.jpg")
        box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [3, 2, 6, 10], "area": 60}
        told = {
            "images": [{"id": 0, "file_name": "a.jpg", "height": 20, "width": 30}],
            "annotations": [box],
            "categories": [{"id": 0, "name": "animals"}, {"id": 1, "name": "cat"}],
        }
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(told))
    dataset = datasets.load(tmp_path)
    assert datasets.format_of(tmp_path) == "coco"
    assert {s.name: s.split for s in dataset} == {"train/a": "train", "valid/a": "val"}
    assert dataset[0].read()["boxes"].tolist()[0] == pytest.approx([0.1, 0.1, 0.6, 0.3])

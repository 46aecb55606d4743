import numpy as np
import pytest

from kerastransfer.data import datasets

OBJECT = "<object><name>{}</name><bndbox><xmin>4</xmin><ymin>3</ymin><xmax>9</xmax><ymax>10</ymax></bndbox></object>"


def annotate(path, names=("cat",), filename="a.jpg"):
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(map(OBJECT.format, names))
    path.write_text(f"<annotation><filename>{filename}</filename>{objects}</annotation>")


@pytest.mark.parametrize(
    ("image", "xml"),
    [
        ("a.jpg", "a.xml"),
        ("photos/a.jpg", "boxes/a.xml"),
        ("photos/deep/a.jpg", "photos/deep/a.xml"),
        ("a.jpg", "labels/xml/a.xml"),
    ],
)
def test_xml_anywhere(tmp_path, draw, image, xml):
    draw(tmp_path / image)
    annotate(tmp_path / xml)
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.classes) == ("voc_xml", ("cat",))
    example = dataset[0].read()
    np.testing.assert_allclose(example["boxes"], [[2 / 20, 3 / 30, 10 / 20, 9 / 30]], rtol=1e-6)


def test_splits_as_roboflow_exports_them(tmp_path, draw):
    for split in ("train", "valid", "test"):
        draw(tmp_path / split / "a.jpg")
        annotate(tmp_path / split / "a.xml", [split])
    dataset = datasets.load(tmp_path)
    assert {s.name: s.split for s in dataset} == {"train/a": "train", "valid/a": "val", "test/a": "test"}
    # Each xml belongs to the image beside it, although all are called a.
    assert [dataset.classes[int(sample.read()["labels"][0])] for sample in dataset] == ["test", "train", "valid"]


def test_the_name_in_the_xml_and_images_without_one(tmp_path, draw):
    draw(tmp_path / "photos/real.jpg")
    draw(tmp_path / "photos/other.jpg")
    annotate(tmp_path / "x/0001.xml", filename=r"C:\data\real.jpg")
    dataset = datasets.load(tmp_path)
    assert {s.name: sorted(s.fields) for s in dataset} == {"photos/real": ["boxes"], "photos/other": []}


def test_what_is_bad_is_named(tmp_path, draw):
    for name in ("a", "b", "c"):
        draw(tmp_path / f"{name}.jpg")
    annotate(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_text("<annotation>")
    annotate(tmp_path / "none.xml", filename="nowhere.jpg")
    annotate(tmp_path / "sub/a.xml")
    dataset = datasets.load(tmp_path, max_bad=0.9)
    assert [sample.name for sample in dataset] == ["a", "c"]
    reasons = {one.name: one.reason for one in dataset.bad}
    assert reasons["b"].startswith("annotation b.xml is broken")
    assert reasons["none"] == "annotation none.xml has no image of this name"
    assert reasons["sub/a"] == "annotation a.xml is a second one of image a"

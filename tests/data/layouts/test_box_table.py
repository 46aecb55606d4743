import numpy as np
import pytest

from kerastransfer.data import datasets

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def test_a_header_names_the_columns(tmp_path, draw):
    for split in ("train", "valid"):
        draw(tmp_path / split / "a.jpg")
        (tmp_path / split / "_annotations.csv").write_text(
            f"{HEADER}a.jpg,30,20,dog,3,4,9,10\na.jpg,30,20,cat,3,4,6,10\n"
        )
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.classes) == ("box_table", ("cat", "dog"))
    assert {s.name: s.split for s in dataset} == {"train/a": "train", "valid/a": "val"}
    example = dataset[0].read()
    np.testing.assert_allclose(example["boxes"], [[0.2, 0.1, 0.5, 0.3], [0.2, 0.1, 0.5, 0.2]], rtol=1e-6)
    assert example["labels"].tolist() == [1, 0]


@pytest.mark.parametrize("home", ["", "images"])
def test_no_header(tmp_path, draw, home):
    for name in "ab":
        draw(tmp_path / home / f"{name}.jpg")
    (tmp_path / "boxes.csv").write_text("a.jpg,3,4,9,10,cat\nb.jpg,,,,,\n")
    for data in (tmp_path, tmp_path / "boxes.csv"):
        first, second = (sample.read() for sample in datasets.load(data))
        np.testing.assert_allclose(first["boxes"], [[0.2, 0.1, 0.5, 0.3]], rtol=1e-6)
        assert len(second["boxes"]) == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("30,20,cat,three,4,9,10", "a line of it is broken"),
        ("30,20,cat,3,4,3,10", "has no area"),
        ("20,30,cat,3,4,9,10", "the table says 20 x 30"),
        ("30,20,cat,nan,4,9,10", "outside the image"),
        ("inf,20,cat,3,4,9,10", "a line of it is broken"),
    ],
)
def test_a_bad_line_is_named(tmp_path, draw, line, reason):
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "b.jpg")
    (tmp_path / "boxes.csv").write_text(f"{HEADER}a.jpg,{line}\nb.jpg,30,20,cat,3,4,9,10\n")
    dataset = datasets.load(tmp_path)
    assert [sample.name for sample in dataset] == ["b"]
    assert reason in dataset.bad[0].reason

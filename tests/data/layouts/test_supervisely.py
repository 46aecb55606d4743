import base64
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID


def thing(kind, exterior=(), label="cat", interior=(), **more):
    points = {"exterior": list(map(list, exterior)), "interior": list(interior)}
    return {"classTitle": label, "geometryType": kind, "points": points, "tags": []} | more


def packed(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


def bitmap(x, y, mask, label="cat"):
    """As Supervisely's own tools write it: a palette whose first colour is transparent."""
    picture = Image.fromarray(np.asarray(mask, np.uint8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    data = packed(picture, transparency=0)
    return {"classTitle": label, "geometryType": "bitmap", "bitmap": {"origin": [x, y], "data": data}}


def annotate(place, name, draw, *things, **more):
    draw(place / f"img/{name}.jpg")
    told = {"description": "", "tags": [], "size": {"height": 20, "width": 30}, "objects": list(things)} | more
    (place / "ann").mkdir(exist_ok=True)
    (place / f"ann/{name}.jpg.json").write_text(json.dumps(told))


def corners(example):
    return example["boxes"] * [20, 30, 20, 30]


SQUARE = [(20, 10), (26, 10), (26, 14), (20, 14)]


def test_a_project(tmp_path, draw):
    """The ends of a rectangle are pixels of it: from 3 to 8 it is 6 wide."""
    project = tmp_path / "home/project"
    annotate(project / "train", "a", draw, thing("rectangle", [(3, 2), (8, 11)]), thing("polygon", SQUARE, "dog"))
    annotate(project / "val", "b", draw)
    draw(project / "val/img/c.jpg")
    (project / "meta.json").write_text(json.dumps({"classes": [], "tags": []}))
    dataset = datasets.load(project)
    assert (datasets.format_of(project), dataset.classes) == ("supervisely", ("cat", "dog"))
    assert {s.name: (s.split, len(s.fields)) for s in dataset} == {
        "train/a": ("train", 3),
        "val/b": ("val", 3),
        "val/c": ("val", 0),
    }
    one = dataset[0].read()
    np.testing.assert_allclose(corners(one), [[2, 3, 12, 9], [10, 20, 14, 26]], atol=1e-5)
    expected = np.zeros((20, 30), np.uint8)
    expected[2:12, 3:9] = VOID
    expected[10:14, 20:26] = 2
    np.testing.assert_array_equal(one["segmentation"], expected)
    # One of its data sets alone, and the project in a folder.
    assert [sample.name for sample in datasets.load(project / "train")] == ["a"]
    assert datasets.load(project.parent).notes == ("project/ is read, the only folder here in layout supervisely",)


def test_data_sets_without_a_project_are_several(tmp_path, draw):
    for name in ("one", "two"):
        annotate(tmp_path / name, "a", draw, thing("polygon", SQUARE))
    with pytest.raises(UserError, match="holds 2 data sets"):
        datasets.load(tmp_path)
    (tmp_path / "meta.json").write_text("{}")
    assert [sample.name for sample in datasets.load(tmp_path)] == ["one/a", "two/a"]


def test_bitmaps_and_holes(tmp_path, draw):
    """A bitmap is tight where its pixels are, and cut at the border of the image."""
    shape = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0]])
    hole = [[22, 11], [24, 11], [24, 13], [22, 13]]
    border = bitmap(28, -1, np.ones((3, 4)))
    annotate(tmp_path, "a", draw, bitmap(4, 5, shape), thing("polygon", SQUARE, interior=[hole]), border)
    example = datasets.load(tmp_path)[0].read()
    expected = np.zeros((3, 20, 30), bool)
    expected[0, 6, 5:7] = expected[0, 7, 5] = True
    expected[1, 10:14, 20:26] = True
    expected[1, 11:13, 22:24] = False
    expected[2, :2, 28:] = True
    np.testing.assert_array_equal(example["masks"], expected)
    np.testing.assert_allclose(corners(example), [[6, 5, 8, 7], [10, 20, 14, 26], [0, 28, 2, 30]], atol=1e-5)


def test_a_bitmap_without_transparency(tmp_path, draw):
    one = bitmap(0, 0, np.ones((2, 2)))
    one["bitmap"]["data"] = packed(Image.fromarray(np.array([[0, 255, 255]], np.uint8)))
    annotate(tmp_path, "a", draw, one)
    assert datasets.load(tmp_path)[0].read()["masks"].sum() == 2


def test_parts_of_one_instance(tmp_path, draw):
    parts = [thing("polygon", [(x, 2), (x + 4, 2), (x + 4, 6), (x, 6)], instance="x1") for x in (2, 10)]
    annotate(tmp_path, "a", draw, *parts)
    example = datasets.load(tmp_path)[0].read()
    np.testing.assert_allclose(corners(example), [[2, 2, 6, 14]], atol=1e-5)
    assert example["masks"].sum() == 32


def test_lines_are_left_out(tmp_path, draw):
    annotate(tmp_path, "a", draw, thing("line", [(1, 2), (3, 4)]), thing("rectangle", [(3, 2), (8, 11)]))
    dataset = datasets.load(tmp_path)
    assert len(dataset[0].read()["boxes"]) == 1
    assert any("others are left out" in note for note in dataset.notes)


def bomb():
    return base64.b64encode(zlib.compress(bytes(60_000_000))).decode()


@pytest.mark.parametrize(
    ("things", "more", "reason"),
    [
        ([thing("polygon", SQUARE, label=7)], {}, "an object has no classTitle"),
        ([thing("polygon", SQUARE[:2])], {}, "a polygon of 2 points"),
        ([thing("polygon", [(1, "a")])], {}, "no number of pixels"),
        ([thing("polygon", SQUARE, interior=[5])], {}, "no points of two numbers"),
        ([thing("polygon", points={"exterior": SQUARE, "interior": 5})], {}, "no list of holes"),
        ([thing("rectangle", SQUARE)], {}, "a rectangle of 4 points; two corners are needed"),
        ([thing("rectangle", points=5)], {}, "no points of two numbers"),
        ([thing("bitmap", bitmap={"origin": [1, 2], "data": "?"})], {}, "a bitmap cannot be unpacked"),
        ([thing("bitmap", bitmap={"origin": [1, 2], "data": ""})], {}, "mask cannot be decoded"),
        ([thing("bitmap", bitmap={"origin": [1, 2], "data": bomb()})], {}, "a bitmap has more than 50000000 bytes"),
        ([thing("bitmap", bitmap={"origin": [1], "data": ""})], {}, "no points of two numbers"),
        ([thing("bitmap", bitmap=3)], {}, "a bitmap has no data"),
        ([bitmap(4, 5, np.zeros((2, 2)))], {}, "an object mask has no pixel"),
        ([bitmap(1.5, 5, np.ones((2, 2)))], {}, "begins at 1.5; a whole number"),
        ([thing("polygon", SQUARE)], {"size": {"height": 20, "width": 99}}, "but the annotations say 99 x 20"),
        ([], {"objects": 5}, "has no list of objects"),
    ],
)
def test_what_is_bad_is_named(tmp_path, draw, things, more, reason):
    annotate(tmp_path, "a", draw, *things, **more)
    annotate(tmp_path, "b", draw, thing("polygon", SQUARE))
    dataset = datasets.load(tmp_path)
    assert [sample.name for sample in dataset] == ["b"]
    assert reason in dataset.bad[0].reason

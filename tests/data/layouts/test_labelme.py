import json

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.vocabulary import VOID

SQUARE = [[3, 2], [9, 2], [9, 12], [3, 12]]


def shape(points=SQUARE, label="cat", kind="polygon", group=None):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group}


def annotate(folder, name, draw, *shapes, **more):
    draw(folder / f"{name}.jpg")
    told = {"version": "5", "imagePath": f"{name}.jpg", "imageHeight": 20, "imageWidth": 30, "shapes": list(shapes)}
    (folder / f"{name}.json").write_text(json.dumps(told | more))


def test_polygons_rectangles_and_groups(tmp_path, draw):
    rectangle = shape([[20, 10], [26, 14]], "dog", "rectangle")
    annotate(tmp_path / "train", "a", draw, shape(), rectangle)
    annotate(tmp_path / "train", "b", draw, shape(group=1), shape([[20, 2], [26, 2], [26, 6]], group=1))
    annotate(tmp_path / "test", "c", draw, rectangle)
    draw(tmp_path / "test/d.jpg")
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.classes) == ("labelme", ("cat", "dog"))
    assert {s.name: (s.split, len(s.fields)) for s in dataset} == {
        "train/a": ("train", 3),
        "train/b": ("train", 3),
        "test/c": ("test", 1),
        "test/d": ("test", 0),
    }
    one = dataset.only(["train/a"])[0].read()
    np.testing.assert_allclose(one["boxes"], [[0.1, 0.1, 0.6, 0.3], [0.5, 20 / 30, 0.7, 26 / 30]], rtol=1e-6)
    assert one["masks"].sum(axis=(1, 2)).tolist() == [60, 0]
    # The rectangle is a box without an outline.
    expected = np.zeros((20, 30), np.uint8)
    expected[10:14, 20:26] = VOID
    expected[2:12, 3:9] = 1
    np.testing.assert_array_equal(one["segmentation"], expected)
    grouped = dataset.only(["train/b"])[0].read()
    np.testing.assert_allclose(grouped["boxes"], [[0.1, 0.1, 0.6, 26 / 30]], rtol=1e-6)


def test_a_circle(tmp_path, draw):
    annotate(tmp_path, "a", draw, shape([[15, 10], [15, 4]], kind="circle"))
    example = datasets.load(tmp_path)[0].read()
    assert example["masks"].sum() == pytest.approx(np.pi * 36, rel=0.06)
    np.testing.assert_allclose(example["boxes"], [[0.2, 9 / 30, 0.8, 21 / 30]], atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "more", "reason"),
    [
        ([shape(label=7)], {}, "a shape has no label"),
        ([shape(points=[[1, "a"]])], {}, "no points of two numbers"),
        ([shape(points=[[1, 2]])], {}, "a polygon of 1 points"),
        ([shape()], {"imageWidth": 99}, "but the annotations say 99 x 20"),
        ([], {"shapes": 5}, "has no list of shapes"),
    ],
)
def test_what_is_bad_is_named(tmp_path, draw, shapes, more, reason):
    annotate(tmp_path, "a", draw, *shapes, **more)
    annotate(tmp_path, "b", draw, shape())
    dataset = datasets.load(tmp_path)
    assert [sample.name for sample in dataset] == ["b"]
    assert reason in dataset.bad[0].reason

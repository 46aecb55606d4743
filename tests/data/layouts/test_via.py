import json

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

RECT = {"name": "rect", "x": 3, "y": 2, "width": 6, "height": 10}
SQUARE = {"name": "polygon", "all_points_x": [20, 26, 26, 20], "all_points_y": [10, 10, 14, 14]}


def region(shape=RECT, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(name, *regions, **more):
    return {"filename": name, "size": 123, "regions": list(regions), "file_attributes": {}} | more


def write(path, *entries, project=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {f"{one['filename']}{one['size']}{number}": one for number, one in enumerate(entries)}
    if project:
        told = {"_via_settings": {"core": {}}, "_via_img_metadata": told, "_via_attributes": {"region": {}}}
    path.write_text(json.dumps(told))


def corners(example):
    return example["boxes"] * [20, 30, 20, 30]


@pytest.mark.parametrize("project", [False, True])
def test_rectangles_and_polygons(tmp_path, draw, project):
    for name in "abc":
        draw(tmp_path / f"{name}.jpg")
    regions = (region(animal="cat"), region(SQUARE, animal="dog"))
    write(tmp_path / "via_region_data.json", entry("a.jpg", *regions), entry("b.jpg"), project=project)
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.classes) == ("via", ("cat", "dog"))
    assert {s.name: len(s.fields) for s in dataset} == {"a": 3, "b": 3, "c": 0}
    one = dataset[0].read()
    np.testing.assert_allclose(corners(one), [[2, 3, 12, 9], [10, 20, 14, 26]], atol=1e-5)
    expected = np.zeros((20, 30), np.uint8)
    expected[2:12, 3:9] = VOID
    expected[10:14, 20:26] = 2
    np.testing.assert_array_equal(one["segmentation"], expected)
    assert len(dataset[1].read()["boxes"]) == 0


def test_circles_and_ellipses(tmp_path, draw):
    """Turned by an angle, an ellipse is sqrt((rx cos)^2 + (ry sin)^2) wide to each side."""
    draw(tmp_path / "a.jpg")
    circle = {"name": "circle", "cx": 15, "cy": 10, "r": 6}
    oval = {"name": "ellipse", "cx": 15, "cy": 10, "rx": 8, "ry": 2}
    slant = oval | {"theta": np.pi / 6}
    write(tmp_path / "via.json", entry("a.jpg", *(region(shape, kind="cell") for shape in (circle, oval, slant))))
    example = datasets.load(tmp_path)[0].read()
    across, down = (np.hypot(8 * f(np.pi / 6), 2 * g(np.pi / 6)) for f, g in ((np.cos, np.sin), (np.sin, np.cos)))
    expected = [[4, 9, 16, 21], [8, 7, 12, 23], [10 - down, 15 - across, 10 + down, 15 + across]]
    np.testing.assert_allclose(corners(example), expected, atol=0.02)
    np.testing.assert_allclose(example["masks"].sum(axis=(1, 2)), np.pi * np.array([36, 16, 16]), rtol=0.1)
    # Clockwise: the right end is low, where rows are large.
    rows, columns = np.nonzero(example["masks"][2])
    assert np.corrcoef(rows, columns)[0, 1] > 0.5


def test_regions_without_attributes_as_via_1_stores_them(tmp_path, draw):
    """The form of the balloons that come with Matterport's Mask R-CNN, with a json in each split."""
    for split in ("train", "val"):
        draw(tmp_path / split / "a.jpg")
        write(
            tmp_path / split / "via_region_data.json",
            entry("a.jpg") | {"regions": {"0": region(SQUARE)}, "fileref": ""},
        )
    dataset = datasets.load(tmp_path)
    assert (dataset.classes, {s.name: s.split for s in dataset}) == (
        ("object",),
        {"train/a": "train", "val/a": "val"},
    )
    assert "the regions have no attribute that names a class; all are of the class object" in dataset.notes
    assert dataset[0].read()["masks"].sum() == 24


def test_a_ticked_box_is_a_class(tmp_path, draw):
    for name in "abc":
        draw(tmp_path / f"{name}.jpg")
    ticked = [{"cat": True}, {"cat": True, "dog": True}, {"cat": False, "dog": True}]
    write(
        tmp_path / "via.json", *(entry(f"{n}.jpg", region(kind=value)) for n, value in zip("abc", ticked, strict=True))
    )
    dataset = datasets.load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert [(one.name, one.reason) for one in dataset.bad] == [
        ("b.jpg", "a region has 2 values of kind ticked; one is needed")
    ]


def test_several_attributes_are_named(tmp_path, draw):
    draw(tmp_path / "a.jpg")
    write(tmp_path / "via.json", entry("a.jpg", region(animal="cat", colour="red"), region(animal="dog", note="")))
    with pytest.raises(
        UserError, match=r"via\.json: the regions have 2 attributes \(animal, colour\), but one is needed"
    ):
        datasets.load(tmp_path)
    # One that nobody filled in is none.
    write(tmp_path / "via.json", entry("a.jpg", region(animal="cat", colour="")))
    assert datasets.load(tmp_path).classes == ("cat",)


def test_a_project_beside_its_export(tmp_path, draw):
    """Both say the same; where they do not, the first is kept and the other named."""
    for name in "ab":
        draw(tmp_path / f"{name}.jpg")
    write(tmp_path / "via_1.json", entry("a.jpg", region(k="cat")), entry("b.jpg", region(k="cat")))
    write(tmp_path / "via_2.json", entry("a.jpg", region(k="cat")), entry("b.jpg", region(k="dog")), project=True)
    dataset = datasets.load(tmp_path)
    assert [(one.name, one.reason) for one in dataset.bad] == [
        ("b.jpg", "via_2.json names it once more, with other annotations; the first are kept")
    ]
    assert len(dataset) == 2 and dataset[1].read()["labels"].tolist() == [0]


def test_nesting_and_the_file_itself(tmp_path, draw):
    draw(tmp_path / "deep/images/a.jpg")
    write(tmp_path / "deep/project.json", entry("https://example.org/photos/a.jpg", region(k="cat")), project=True)
    dataset = datasets.load(tmp_path)
    assert dataset.notes == ("deep/ is read, the only folder here in layout via",)
    assert datasets.format_of(tmp_path / "deep/project.json") == "via"
    assert [sample.name for sample in datasets.load(tmp_path / "deep/project.json")] == ["images/a"]


def test_yolo_beside_it_is_named_too(tmp_path, draw):
    draw(tmp_path / "images/a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2")
    write(tmp_path / "via.json", entry("a.jpg", region(k="cat")))
    with pytest.raises(UserError, match="can be read as yolo_txt and as via; choose with"):
        datasets.load(tmp_path)
    assert datasets.load(tmp_path, "via").classes == ("cat",)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (entry("a.jpg", region(k="")), "a region has no k, which is the class"),
        (entry("a.jpg", region(k=["cat"])), "a region has no k"),
        (entry("a.jpg", region(RECT | {"x": "3"}, k="cat")), "no number of pixels"),
        (entry("a.jpg", region(RECT | {"x": True}, k="cat")), "no number of pixels"),
        (entry("a.jpg", region({"name": "rect", "x": 3}, k="cat")), "a region of the shape rect is broken: KeyError"),
        (entry("a.jpg", region(RECT | {"width": 0}, k="cat")), "has no area"),
        (entry("a.jpg", region(SQUARE | {"all_points_x": [1, 2]}, k="cat")), "the shape polygon is broken"),
        (entry("a.jpg", region(SQUARE | {"all_points_x": 5}, k="cat")), "the shape polygon is broken: TypeError"),
        (entry("a.jpg", region({"name": "circle", "cx": 1, "cy": 1, "r": -1}, k="cat")), "both must be above 0"),
        (entry("a.jpg", region({"name": "star"}, k="cat")), "a region of the shape 'star', which is not known"),
        (entry("a.jpg", 5), "a region of the shape None"),
        (entry("a.jpg", regions=5), "it has no list of regions"),
        (entry("a.jpg", region(RECT | {"x": 500}, k="cat")), "outside the image"),
        (entry("../a.jpg"), "outside the folder of the data set"),
        (entry("gone.jpg"), "image gone.jpg is missing"),
        (entry(7), "the name of its image is empty"),
    ],
)
def test_what_is_bad_is_named(tmp_path, draw, broken, reason):
    for name in "abc":
        draw(tmp_path / f"{name}.jpg")
    write(tmp_path / "via.json", entry("b.jpg", region(k="cat")), entry("c.jpg", region(k="cat")), broken)
    dataset = datasets.load(tmp_path)
    assert [sample.name for sample in dataset.having("boxes")] == ["b", "c"]
    assert len(dataset.bad) == 1 and reason in dataset.bad[0].reason, dataset.bad


def test_points_and_lines_are_left_out(tmp_path, draw):
    draw(tmp_path / "a.jpg")
    write(tmp_path / "via.json", entry("a.jpg", region({"name": "point", "cx": 1, "cy": 2}), region(k="cat")))
    dataset = datasets.load(tmp_path)
    assert len(dataset[0].read()["boxes"]) == 1
    assert any("points and lines of VIA are left out" in note for note in dataset.notes)


def test_a_damaged_json_is_refused_in_one_line(tmp_path, draw):
    draw(tmp_path / "a.jpg")
    (tmp_path / "via.json").write_text('{"_via_settings": {}, "_via_img_metadata": ')
    with pytest.raises(UserError, match=r"via\.json is not a readable json"):
        datasets.load(tmp_path)
    (tmp_path / "via.json").write_text('{"_via_settings": {}, "_via_img_metadata": [1]}')
    with pytest.raises(UserError, match="has no entry for each image"):
        datasets.load(tmp_path)

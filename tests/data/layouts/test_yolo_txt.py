import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.data.layouts.data_yaml import names_in_yaml
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID


def label(root, stem, text, images="images", labels="labels", draw=None):
    draw(root / images / f"{stem}.jpg")
    path = root / labels / f"{stem}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.slow
def test_real_polygons(shared_data):
    dataset = datasets.load(shared_data / "coco128", check=False)
    assert (len(dataset), dataset.classes[0], dataset.classes[-1], len(dataset.classes)) == (
        111,
        "person",
        "toothbrush",
        80,
    )
    assert [sum(s.split == split for s in dataset.samples) for split in ("train", "val")] == [59, 52]
    examples = [sample.read() for sample in dataset.samples]
    assert sum(len(example["labels"]) for example in examples) == 870
    assert sum(not len(example["labels"]) for example in examples) == 2
    assert datasets.load(shared_data / "coco128/instance_segmentation", check=False).classes == dataset.classes


@pytest.mark.slow
def test_real_boxes(shared_data):
    dataset = datasets.load(shared_data / "coco128/object_detection")
    assert (len(dataset), len(dataset.having("boxes")), len(dataset.classes)) == (111, 109, 80)
    assert datasets.summary(dataset.having("boxes"))["fields"] == {"boxes": 109}
    assert sum(len(sample.read()["labels"]) for sample in dataset.having("boxes").samples) == 864


def test_both_tasks_name_the_same_objects(shared_data):
    """The ids 1 to 90 of the polygons and 0 to 79 of the boxes must end as the same labels."""
    polygons = {s.name: s for s in datasets.load(shared_data / "coco128", check=False).samples}
    boxes = datasets.load(shared_data / "coco128/object_detection", check=False).having("boxes")
    agree = total = 0
    for sample in boxes.samples[::9]:
        one, other = sample.read(), polygons[sample.name].read()
        for box, wanted in zip(one["boxes"], one["labels"], strict=True):
            distance = np.abs(other["boxes"] - box).max(axis=1, initial=0)
            total += 1
            agree += bool(len(distance)) and other["labels"][distance.argmin()] == wanted
    assert agree / total > 0.9


def test_boxes_polygons_and_nothing(tmp_path, draw):
    label(tmp_path, "train/box", "1 0.2 0.35 0.2 0.5\n", draw=draw)
    label(tmp_path, "train/polygon", "0 0.1 0.1 0.3 0.1 0.3 0.6 0.1 0.6\n", draw=draw)
    label(tmp_path, "val/empty", "\n", draw=draw)
    draw(tmp_path / "images/val/unlabelled.jpg")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: ['a b', c]  # two\nnc: 2\n")
    dataset = datasets.load(tmp_path)
    assert dataset.classes == ("a b", "c")
    assert {s.name: (s.split, sorted(s.fields)) for s in dataset.samples} == {
        "train/box": ("train", ["boxes"]),
        "train/polygon": ("train", ["boxes", "masks", "segmentation"]),
        "val/empty": ("val", ["boxes", "masks", "segmentation"]),
        "val/unlabelled": ("val", []),
    }
    box, polygon, empty, _ = (sample.read() for sample in dataset.samples)
    np.testing.assert_allclose(box["boxes"], [[0.1, 0.1, 0.6, 0.3]], atol=1e-6)
    np.testing.assert_allclose(polygon["boxes"], box["boxes"], atol=1e-6)
    assert (polygon["masks"].sum(), polygon["segmentation"].sum()) == (60, 60)
    assert (box["labels"].tolist(), polygon["labels"].tolist()) == ([1], [0])
    assert (empty["masks"].shape, empty["masks"].dtype, empty["boxes"].dtype) == ((0, 20, 30), bool, np.float32)


def test_polygons_beside_boxes_are_noted(tmp_path, draw):
    outline = "0 0.1 0.1 0.3 0.1 0.3 0.6 0.1 0.6"
    label(tmp_path, "a", f"{outline}\n0 0.5 0.5 0.2 0.2\n{outline}", draw=draw)
    label(tmp_path, "b", outline, draw=draw)
    dataset = datasets.load(tmp_path)
    assert [sorted(sample.fields) for sample in dataset] == 2 * [["boxes", "masks", "segmentation"]]
    assert dataset.notes == (
        "1 objects have a box alone beside outlined ones (a): they have no mask, and are void in the segmentation",
    )
    example = dataset[0].read()
    assert example["masks"].sum(axis=(1, 2)).tolist() == [60, 0, 60]
    np.testing.assert_allclose(example["area"], [60, 24, 60], rtol=1e-5)
    # The box is 6 x 4 pixels from (12, 8); nobody knows which of them are the object.
    expected = np.zeros((20, 30), np.uint8)
    expected[8:12, 12:18] = VOID
    expected[2:12, 3:9] = 1
    np.testing.assert_array_equal(example["segmentation"], expected)


def test_a_box_on_an_outline_is_void_there(tmp_path, draw):
    """A sign on a bus: its pixels are not those of the bus, and which they are nobody says. A box behind is covered."""
    label(tmp_path, "a", "0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n1 0.3 0.35 0.2 0.2\n1 0.5 0.5 1 1", draw=draw)
    expected = np.full((20, 30), VOID, np.uint8)
    expected[2:12, 3:15] = 1
    expected[5:9, 6:12] = VOID
    np.testing.assert_array_equal(datasets.load(tmp_path)[0].read()["segmentation"], expected)


def test_a_polygon_smaller_than_a_pixel(tmp_path, draw):
    label(tmp_path, "a", "0 0.5 0.5 0.501 0.5 0.501 0.501", draw=draw)
    example = datasets.load(tmp_path).samples[0].read()
    np.testing.assert_allclose(example["boxes"], [[0.5, 0.5, 0.501, 0.501]], atol=1e-6)
    assert example["masks"].sum() <= 1


def test_splits_above_the_folders(tmp_path, draw):
    for split in ("train", "valid", "test"):
        label(tmp_path, "a", "0 0.5 0.5 1 1", f"{split}/images", f"{split}/labels", draw)
    dataset = datasets.load(tmp_path)
    assert {s.name: s.split for s in dataset.samples} == {"train/a": "train", "valid/a": "val", "test/a": "test"}
    assert dataset.classes == ("0",)  # nothing names it


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5 0.5 0.5 0.2 0.2", "class 5, but names are given for 0 to 1"),
        ("0 12 8 6 4", "outside the image"),
        ("0 0.5 0.5 0 0.2", "no area"),
        ("0 0.5 0.5 0.2", "neither a class with a box nor"),
        ("cat 0.5 0.5 0.2 0.2", "labels bad.txt are broken"),
        ("0 0.1 0.1 0.2 0.2 7.0 0.1", "polygon outside"),
        ("0 nan 0.5 0.2 0.2", "outside the image"),
    ],
)
def test_bad_lines(tmp_path, draw, text, reason):
    label(tmp_path, "bad", text, draw=draw)
    label(tmp_path, "good", "1 0.5 0.5 1 1", draw=draw)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    dataset = datasets.load(tmp_path)
    assert [sample.name for sample in dataset.samples] == ["good"]
    assert reason in dataset.bad[0].reason


def test_a_box_that_reaches_out_is_cut(tmp_path, draw):
    label(tmp_path, "a", "0 0.9 0.5 0.4 0.2\n0 1.4 0.5 0.2 0.2\n1 0.5 0.5 0.5 0.5", draw=draw)
    dataset = datasets.load(tmp_path)
    example = dataset.samples[0].read()
    np.testing.assert_allclose(example["boxes"], [[0.4, 0.7, 0.6, 1], [0.25, 0.25, 0.75, 0.75]], atol=1e-6)
    assert example["labels"].tolist() == [0, 1]
    assert [note.partition(": ")[2] for note in dataset.notes] == [
        "a box outside the image is left out",
        "a box that reaches out of the image is cut at its border",
    ]


def test_images_that_differ_in_the_suffix_alone(tmp_path, draw, capsys):
    label(tmp_path, "a", "0 0.5 0.5 1 1", draw=draw)
    draw(tmp_path / "images/a.png")
    dataset = datasets.load(tmp_path, progress=True)
    assert len(dataset) == 1
    assert dataset.samples[0].read.image.name == "a.jpg"
    assert dataset.notes == (
        "images/ has images that differ in the suffix alone; of each the first is read, not a.png",
    )
    assert capsys.readouterr().err.count("a.png") == 1


def test_labels_without_an_image(tmp_path, draw):
    label(tmp_path, "a", "0 0.5 0.5 1 1", draw=draw)
    (tmp_path / "labels/b.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "labels/classes.txt").write_text("cat\n")  # as labelImg writes it
    dataset = datasets.load(tmp_path)
    assert (dataset.classes, [(one.name, one.reason) for one in dataset.bad]) == (
        ("cat",),
        [("b", "labels b.txt have no image")],
    )


@pytest.mark.parametrize(
    "text",
    [
        "names: [cat, 'big dog', \"e, f\"]",
        "names:\n- cat\n- big dog\n- 'e, f'\nnc: 3",
        "nc: 3\nnames:\n  - cat\n  - 'big dog'\n  - \"e, f\"",
        "names:\n  0: cat\n  1: big dog\n  2: 'e, f'\npath: .",
        "names: {0: cat, 1: 'big dog', 2: 'e, f'}",
        "names: [\n  cat,\n  big dog,\n  'e, f'\n]\n",
    ],
)
def test_the_forms_of_names(text):
    assert names_in_yaml(text) == {0: "cat", 1: "big dog", 2: "e, f"}


def test_no_names():
    assert names_in_yaml("path: .\nnames:\n") == {}
    assert names_in_yaml("filenames: [a]\n") == {}


def test_an_unreadable_yaml(tmp_path, draw):
    label(tmp_path, "a", "0 0.5 0.5 1 1", draw=draw)
    (tmp_path / "data.yaml").write_bytes(b"names: \xff\xfe")
    with pytest.raises(UserError, match=r"data.yaml cannot be read"):
        datasets.load(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [("[a, a]", r"2 classes are called a; rename"), ("['', a]", "a class name is empty; give the class a name")],
)
def test_names_that_tell_no_classes_apart(tmp_path, draw, names, message):
    label(tmp_path, "a", "0 0.5 0.5 0.2 0.2", draw=draw)
    (tmp_path / "data.yaml").write_text(f"names: {names}\n")
    with pytest.raises(UserError, match=message):
        datasets.load(tmp_path)

import pytest

from kerastransfer.data import datasets
from kerastransfer.errors import UserError


def label(root, place, draw, text="0 0.5 0.5 0.2 0.2", labels=None):
    image = draw(root / place)
    path = root / (labels or place.replace("images", "labels")).replace(".jpg", ".txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return image


@pytest.mark.parametrize(
    "text",
    [
        "path: .\ntrain: images/one\nval: images/two\nnames: [cat]",
        "path: ../data\ntrain:\n  - images/one\nval: [images/two]\nnames:\n  0: cat",
        "train: ../images/one\nval: ../images/two\nnc: 1\nnames: ['cat']",
        "train: one.txt\nval: images/two\ntest:\nnames: {0: cat}",
    ],
)
def test_what_the_file_says(tmp_path, draw, text):
    root = tmp_path / "data"
    label(root, "images/one/a.jpg", draw)
    label(root, "images/two/b.jpg", draw)
    (root / "one.txt").write_text("./images/one/a.jpg\n")
    (root / "data.yaml").write_text(text)
    dataset = datasets.load(root / "data.yaml")
    assert (dataset.name, dataset.classes) == ("data", ("cat",))
    assert {s.name: s.split for s in dataset} == {"images/one/a": "train", "images/two/b": "val"}


def test_a_file_that_lies_in_the_folder(tmp_path, draw):
    label(tmp_path, "photos/images/a.jpg", draw)
    label(tmp_path, "more/images/b.jpg", draw)
    (tmp_path / "data.yaml").write_text("train: photos/images\nval: more/images\nnames: [cat]")
    assert {s.name: s.split for s in datasets.load(tmp_path)} == {"photos/images/a": "train", "more/images/b": "val"}


def test_labels_beside_images_as_darknet_has_them(tmp_path, draw):
    label(tmp_path, "train/a.jpg", draw)
    label(tmp_path, "valid/b.jpg", draw)
    (tmp_path / "train/_darknet.labels").write_text("cat\n")
    dataset = datasets.load(tmp_path)
    assert (datasets.format_of(tmp_path), dataset.classes) == ("yolo_txt", ("cat",))
    assert {s.name: (s.split, sorted(s.fields)) for s in dataset} == {
        "train/a": ("train", ["boxes"]),
        "valid/b": ("val", ["boxes"]),
    }


def test_key_points_are_no_polygons(tmp_path, draw):
    label(tmp_path, "images/a.jpg", draw, "0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 1")
    (tmp_path / "data.yaml").write_text("train: images\nkpt_shape: [2, 3]\nnames: [cat]")
    dataset = datasets.load(tmp_path)
    assert dataset[0].fields == {"boxes"}
    assert dataset[0].read()["boxes"].tolist()[0] == pytest.approx([0.4, 0.4, 0.6, 0.6])
    assert dataset.notes == ("the key points are left out; the boxes are read",)


@pytest.mark.parametrize(
    "text", ["train: ../secret/images", "path: ../secret\ntrain: images", "train: {}/secret/images"]
)
def test_a_folder_outside_is_refused_unless_allowed(tmp_path, draw, text):
    label(tmp_path, "secret/images/a.jpg", draw)
    (tmp_path / "data").mkdir()
    yaml = tmp_path / "data/data.yaml"
    yaml.write_text(text.format(tmp_path) + "\nnames: [cat]")
    with pytest.raises(UserError, match=r"lies outside the folder of the file; --allow-outside"):
        datasets.load(yaml)
    assert len(datasets.load(yaml, allow_outside=True)) == 1

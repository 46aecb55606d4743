import numpy as np
import pytest

from kerastransfer.data import datasets, recognise
from kerastransfer.errors import UserError


def test_the_real_folder(shared_data):
    dataset = datasets.load(shared_data / "clothing-dataset-small", check=False)
    assert (len(dataset), len(dataset.image_classes), dataset.classes) == (766, 10, ())
    assert [sum(s.split == split for s in dataset.samples) for split in ("train", "val")] == [580, 186]
    for sample in dataset.samples[::150]:
        label = sample.read()["label"]
        assert (label.shape, label.dtype) == ((), np.int32)
        assert dataset.image_classes[label] == sample.name.split("/")[1]


def test_classes_without_splits(tmp_path, draw):
    draw(tmp_path / "cat/1.jpg")
    draw(tmp_path / "cat/2.jpg").write_bytes(b"GIF89a")
    draw(tmp_path / "dog/1.jpg")
    (tmp_path / "empty").mkdir()
    dataset = datasets.load(tmp_path)
    assert dataset.image_classes == ("cat", "dog")
    assert [(s.name, s.split, int(s.read()["label"])) for s in dataset.samples] == [
        ("cat/1", None, 0),
        ("dog/1", None, 1),
    ]
    assert dataset.bad[0].name == "cat/2"


def test_a_class_of_one_split_only(tmp_path, draw):
    for path in ("train/cat/1.jpg", "train/dog/1.jpg", "validation/eel/1.jpg"):
        draw(tmp_path / path)
    dataset = datasets.load(tmp_path)
    assert dataset.image_classes == ("cat", "dog", "eel")
    assert [int(sample.read()["label"]) for sample in dataset.samples] == [0, 1, 2]


@pytest.mark.parametrize("folders", [("images_256", "labels_256"), ("image", "mask"), ("Images", "GT-Masks", "masks2")])
def test_images_beside_their_masks_are_no_classes(tmp_path, draw, folders):
    for folder in folders:
        draw(tmp_path / folder / "1.png")
    assert recognise.fitting(tmp_path) == ["folder_pairs"]


def test_lists_beside_the_folders_split(tmp_path, draw):
    for path in ("sets/cat/1.jpg", "sets/cat/2.jpg", "sets/dog/1.jpg"):
        draw(tmp_path / path)
    (tmp_path / "train.txt").write_text("cat/1.jpg\n")
    (tmp_path / "test.txt").write_text("cat/2.jpg\n")
    dataset = datasets.load(tmp_path)
    assert {s.name: s.split for s in dataset} == {"cat/1": "train", "cat/2": "test", "dog/1": None}


@pytest.mark.parametrize("folders", [("mask", "no_mask"), ("label", "bottle")])
def test_classes_with_such_names(tmp_path, draw, folders):
    for folder in folders:
        draw(tmp_path / folder / "1.png")
    assert datasets.load(tmp_path).image_classes == tuple(sorted(folders))


def test_a_list_above_the_folders_that_is_no_text_is_ignored(tmp_path, draw):
    for name in ("cat/1", "dog/1"):
        draw(tmp_path / f"photos/{name}.jpg")
    (tmp_path / "train.txt").write_bytes(b"\xff")
    assert {sample.split for sample in datasets.load(tmp_path / "photos")} == {None}
    (tmp_path / "photos/train.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"train\.txt cannot be read as a list of lines"):
        datasets.load(tmp_path / "photos")

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.errors import UserError


def field(*values):
    return np.resize(np.array(values, np.uint8), (20, 30))


def test_the_real_folder(shared_data):
    dataset = datasets.load(shared_data / "flowers17_segmentation", check=False)
    assert (len(dataset), len(dataset.having("segmentation"))) == (470, 470)
    assert dataset.segmentation_classes[:5] == ("background", "class 1", "class 2", "class 3", "class 4")
    pixels = np.concatenate([sample.annotations("segmentation")["segmentation"].ravel() for sample in dataset[::40]])
    # The owner's README: 1 is flower, 3 background, 0 unlabelled.
    assert set(np.argsort(-np.bincount(pixels))[:3]) == {0, 1, 3}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images_256", "labels_256"),
        ("img", "gt"),
        ("Photos", "GroundTruth"),
        ("train_images", "train_masks"),
        ("images", "annotations"),
        ("train", "train_labels"),
        ("foo", "bar"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_pairs_of_any_name(tmp_path, draw, images, masks, suffix):
    """The last pair is told by its content alone."""
    for name in "ab":
        draw(tmp_path / images / f"{name}.jpg")
        draw(tmp_path / masks / f"{name}{suffix}.png", field(0, 1, 2), palette=True)
    dataset = datasets.load(tmp_path)
    assert datasets.format_of(tmp_path) == "folder_pairs"
    assert [sample.name for sample in dataset] == ["a", "b"]
    np.testing.assert_array_equal(dataset[1].read()["segmentation"], field(0, 1, 2))


def test_splits_in_the_names_of_the_folders(tmp_path, draw):
    for split in ("train", "val"):
        draw(tmp_path / f"{split}_images" / "a.jpg")
        draw(tmp_path / f"{split}_masks" / "a.png", field(0, 255))
    found = {sample.name: sample.split for sample in datasets.load(tmp_path)}
    assert found == {"train_images/a": "train", "val_images/a": "val"}


def test_splits_above_the_folders(tmp_path, draw):
    for split in ("train", "test"):
        draw(tmp_path / split / "imgs/a.jpg")
        draw(tmp_path / split / "labels/a.png", field(0, 255))
    assert {s.name: s.split for s in datasets.load(tmp_path)} == {"train/a": "train", "test/a": "test"}


def test_two_folders_of_photos_are_classes(tmp_path, draw):
    for folder in ("foo", "bar"):
        draw(tmp_path / folder / "1.png")
    assert datasets.format_of(tmp_path) == "folder_per_class"


def test_masks_that_may_be_others_are_refused(tmp_path, draw):
    draw(tmp_path / "image/a.jpg")
    for masks in ("masks_a", "mask_1", "mask_2"):
        draw(tmp_path / masks / "a.png", field(0, 1))
    with pytest.raises(UserError, match="the masks of image/ may be mask_1/ or mask_2/; move the other folder away"):
        datasets.load(tmp_path)


def test_a_mask_without_an_image(tmp_path, draw):
    for name in "abc":
        draw(tmp_path / f"img/{name}.jpg")
        draw(tmp_path / f"seg/{name}.png", field(0, 1))
    draw(tmp_path / "seg/d.png", field(0, 1))
    assert [(one.name, one.reason) for one in datasets.load(tmp_path).bad] == [("d", "mask d.png has no image")]

import numpy as np

from kerastransfer.data import datasets


def field(*values):
    return np.resize(np.array(values, np.uint8), (20, 30))


def test_masks_beside_images_in_any_depth(tmp_path, draw):
    for name in ("benign/benign (1)", "malignant/malignant (1)"):
        draw(tmp_path / f"{name}.png")
        draw(tmp_path / f"{name}_mask.png", field(0, 255))
    draw(tmp_path / "benign/benign (1)_mask_1.png", field(0, 255))
    dataset = datasets.load(tmp_path)
    assert datasets.format_of(tmp_path) == "masks_beside"
    assert [sample.name for sample in dataset] == ["benign/benign (1)", "malignant/malignant (1)"]
    assert dataset.segmentation_classes == ("background", "foreground")
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], field(0, 1))
    assert dataset.notes == ("of several masks of an image the first is read, not benign/benign (1)_mask_1",)


def test_splits(tmp_path, draw):
    for split in ("train", "test"):
        draw(tmp_path / split / "a.jpg")
        draw(tmp_path / split / "a-mask.png", field(0, 1))
    assert {s.name: s.split for s in datasets.load(tmp_path)} == {"train/a": "train", "test/a": "test"}

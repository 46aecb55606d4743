import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.errors import UserError


@pytest.fixture
def birds(tmp_path, draw):
    """Two species with two birds each, of 20 x 30 pixels; the lists are in no order."""
    paths = ["002.Gull/g_1.jpg", "001.Tern/t_1.jpg", "001.Tern/t_2.jpg", "002.Gull/g_2.jpg"]
    lists = {
        "images": paths,
        "bounding_boxes": ["3.0 2.0 6.0 10.0"] * 4,
        "image_class_labels": [2, 1, 1, 2],
        "train_test_split": [1, 0, 1, 0],
        "classes": ["001.Tern", "002.Gull"],
    }
    for name, values in lists.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{k} {value}\n" for k, value in enumerate(values, start=1)))
    grey = np.zeros((20, 30), np.uint8)
    grey[2:12, 3:9] = 128
    grey[2:4, 3:9] = 127
    for path in paths:
        draw(tmp_path / "images" / path)
        draw((tmp_path / "segmentations" / path).with_suffix(".png"), grey)
    return tmp_path


def test_lists_boxes_and_silhouettes(birds):
    dataset = datasets.load(birds)
    assert datasets.format_of(birds) == "cub"
    assert dataset.classes == dataset.image_classes == ("001.Tern", "002.Gull")
    assert {sample.name: sample.split for sample in dataset.samples} == {
        "001.Tern/t_1": "test",
        "001.Tern/t_2": "train",
        "002.Gull/g_1": "train",
        "002.Gull/g_2": "test",
    }
    example = dataset.samples[2].read()
    np.testing.assert_allclose(example["boxes"], [[0.1, 0.1, 0.6, 0.3]], atol=1e-6)
    assert (example["labels"].tolist(), int(example["label"])) == ([1], 1)
    assert example["segmentation"].sum() == 8 * 6  # 128 / 255 is above one half, 127 / 255 is not
    np.testing.assert_array_equal(example["masks"][0], example["segmentation"])


def test_segmentations_missing(birds):
    for path in sorted((birds / "segmentations").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (birds / "segmentations").rmdir()
    dataset = datasets.load(birds)
    assert dataset.segmentation_classes == ()
    assert all(sample.fields == {"boxes", "label"} for sample in dataset.samples)


def test_broken_lists(birds):
    (birds / "bounding_boxes.txt").write_text("1 3 2 6 10\n")
    with pytest.raises(UserError, match="has no box or species"):
        datasets.load(birds)


def test_a_bad_bird(birds):
    (birds / "bounding_boxes.txt").write_text("1 3 2 60 10\n2 3 2 6 10\n3 3 2 6 10\n4 3 2 6 10\n")
    dataset = datasets.load(birds)
    assert (dataset.bad[0].name, len(dataset)) == ("002.Gull/g_1", 3)
    assert "outside the image" in dataset.bad[0].reason

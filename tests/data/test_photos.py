"""The readers on the real photos that every clone has."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets, splits
from kerastransfer.data.decoded import decode

PHOTOS = Path(__file__).parent / "photos"
LAYOUTS = ("voc", "yolo_txt", "coco", "images_masks", "folder_per_class")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_whole(layout):
    assert datasets.format_of(PHOTOS / layout) == layout
    dataset = datasets.load(PHOTOS / layout)
    assert (len(dataset), dataset.bad, dataset.notes) == (2, (), ())
    for sample in dataset:
        example = sample.read()
        with Image.open(sample.read.image) as photo:
            np.testing.assert_array_equal(example["image"], np.asarray(photo.convert("RGB")))
        # Of a real photo, neighbours are alike and the whole is not of one colour.
        pixels = example["image"].astype(float)
        assert np.abs(np.diff(pixels, axis=1)).mean() < pixels.std()


def test_voc_and_yolo_txt_say_the_same():
    voc, yolo = (datasets.load(PHOTOS / layout) for layout in ("voc", "yolo_txt"))
    assert voc.classes == yolo.classes == ("Platelets", "RBC", "WBC")
    assert [sample.split for sample in voc] == ["train", "test"]
    by_stem = {sample.name.rpartition("/")[2]: sample for sample in yolo}
    assert {name: sample.split for name, sample in by_stem.items()} == {s.name: s.split for s in voc}
    for sample in voc:
        one, other = sample.read(), by_stem[sample.name].read()
        np.testing.assert_allclose(one["boxes"], other["boxes"], atol=1e-5)
        np.testing.assert_array_equal(one["labels"], other["labels"])
        assert (one["labels"] == 2).sum() == 1  # a white cell among red ones
        assert len(one["labels"]) > 10
        assert one["truncated"].shape == one["difficult"].shape == one["labels"].shape


def test_a_white_cell_is_violet():
    """The box lies where the photo shows its object."""
    for sample in datasets.load(PHOTOS / "voc"):
        example = sample.read()
        height, width, _ = example["image"].shape
        y1, x1, y2, x2 = np.round(example["boxes"][example["labels"] == 2][0] * [height, width, height, width]).astype(
            int
        )
        green = example["image"][..., 1].astype(float)
        assert green[y1:y2, x1:x2].mean() < green.mean() - 10


def test_coco_and_images_masks_say_the_same():
    coco, masked = (datasets.load(PHOTOS / layout) for layout in ("coco", "images_masks"))
    assert coco.classes == ("nucleus",) and masked.segmentation_classes == ("background", "foreground")
    for one, other in zip(coco, masked, strict=True):
        first, second = one.read(), other.read()
        assert one.name == f"train/{other.name}"
        np.testing.assert_array_equal(first["image"], second["image"])
        np.testing.assert_array_equal(first["segmentation"], second["segmentation"])
        np.testing.assert_array_equal(first["area"], first["masks"].sum(axis=(1, 2)))
        height, width = second["segmentation"].shape
        for mask, box in zip(first["masks"], first["boxes"], strict=True):
            rows, columns = np.nonzero(mask)
            tight = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(box * [height, width, height, width], tight, atol=1e-4)
        # Stained nuclei are darker than what surrounds them.
        inside = second["segmentation"] == 1
        assert second["image"][inside].mean() < second["image"][~inside].mean() - 20


def test_classes_of_photos():
    dataset = datasets.load(PHOTOS / "folder_per_class")
    assert dataset.image_classes == ("hat", "shoes")
    assert decode(dataset, ["label"], (32, 24)).arrays["label"].tolist() == [0, 1]


def test_the_owners_split_of_photos():
    train, test = splits.split(datasets.load(PHOTOS / "voc"), fields=("boxes",))
    assert [sample.name for sample in (*train, *test)] == ["BloodImage_00000", "BloodImage_00003"]

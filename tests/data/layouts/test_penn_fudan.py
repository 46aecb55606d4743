import numpy as np
import pytest

from kerastransfer.data import datasets


@pytest.mark.slow
def test_the_real_folder(shared_data):
    dataset = datasets.load(shared_data / "PennFudanPed", check=False)
    assert (len(dataset), dataset.classes) == (136, ("person",))
    persons = 0
    for sample in dataset.samples:
        example = sample.read()
        persons += len(example["labels"])
        assert len(example["boxes"]) == len(example["masks"])
        np.testing.assert_array_equal(example["segmentation"], example["masks"].any(axis=0))
        size = example["image"].shape[:2]
        for box, mask in zip(example["boxes"] * [*size, *size], example["masks"], strict=True):
            rows, columns = np.nonzero(mask)
            tight = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            assert np.abs(box - tight).max() < 6
    assert persons == 345


def test_boxes_of_the_masks_where_no_text_gives_them(tmp_path, draw):
    mask = np.zeros((20, 30), np.uint8)
    mask[2:12, 3:9] = 2
    mask[15:, 29:] = 1
    draw(tmp_path / "PNGImages/a.png")
    draw(tmp_path / "PedMasks/a_mask.png", mask)
    draw(tmp_path / "PNGImages/no_mask.png")
    dataset = datasets.load(tmp_path)
    np.testing.assert_allclose(
        dataset.samples[0].read()["boxes"], [[0.75, 29 / 30, 1, 1], [0.1, 0.1, 0.6, 0.3]], atol=1e-6
    )
    assert dataset.bad[0].reason == "mask no_mask_mask.png is missing"


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_that_is_no_pixel(tmp_path, draw, digits):
    for stem in ("a", "b"):
        draw(tmp_path / f"PNGImages/{stem}.png")
        draw(tmp_path / f"PedMasks/{stem}_mask.png", np.full((20, 30), 1, np.uint8))
    (tmp_path / "Annotation").mkdir()
    line = 'Bounding box for object 1 "PASperson" (Xmin, Ymin) - (Xmax, Ymax) : (1, 1) - ({}, 20)'
    (tmp_path / "Annotation/a.txt").write_text(line.format("9" * digits))
    (tmp_path / "Annotation/b.txt").write_text(line.format(30))
    assert [one.name for one in datasets.load(tmp_path).bad] == ["a"]


def test_a_box_too_few(tmp_path, draw):
    for stem in ("a", "b"):
        draw(tmp_path / f"PNGImages/{stem}.png")
        draw(tmp_path / f"PedMasks/{stem}_mask.png", np.full((20, 30), 1, np.uint8))
    (tmp_path / "Annotation").mkdir()
    line = 'Bounding box for object 1 "PASperson" (Xmin, Ymin) - (Xmax, Ymax) : (1, 1) - (30, 20)'
    (tmp_path / "Annotation/a.txt").write_text(line)
    (tmp_path / "Annotation/b.txt").write_text("")
    dataset = datasets.load(tmp_path)
    np.testing.assert_array_equal(dataset.samples[0].read()["boxes"], [[0, 0, 1, 1]])
    assert dataset.bad[0].reason == "0 boxes in b.txt, but 1 persons in the mask"

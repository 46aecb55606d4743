import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets
from kerastransfer.vocabulary import VOID


@pytest.mark.slow
def test_the_real_folder(shared_data):
    dataset = datasets.load(shared_data / "oxford-iiit-pet")
    assert (len(dataset), dataset.classes) == (480, ("cat", "dog"))
    assert dataset.segmentation_classes == ("background", "pet")
    assert dataset.image_classes == ("Abyssinian", "Bengal", "american_bulldog")
    assert [(one.name, one.reason) for one in dataset.bad] == [
        ("Abyssinian_34", "trimap has no pet pixel, but every image shows a pet")  # the GIF
    ]
    splits = [sample.split for sample in dataset.samples]
    assert [splits.count(split) for split in ("train", "test", None)] == [240, 239, 1]
    assert next(s.split for s in dataset.samples if s.name == "Abyssinian_82") is None
    assert len(dataset.having("boxes")) == 237
    heads = [sample.read() for sample in dataset.having("boxes").samples]
    assert sum(len(example["boxes"]) for example in heads) == 238


def test_real_trimaps_heads_and_breeds(shared_data):
    dataset = datasets.load(shared_data / "oxford-iiit-pet", check=False)
    samples = {sample.name: sample for sample in dataset.samples}
    example = samples["Abyssinian_1"].read()
    np.testing.assert_allclose(example["boxes"], [[49 / 277, 230 / 416, 110 / 277, 295 / 416]], atol=1e-6)
    trimap = np.array(Image.open(shared_data / "oxford-iiit-pet/annotations/trimaps/Abyssinian_1.png"))
    for stored, meant in ((1, 1), (2, 0), (3, VOID)):
        np.testing.assert_array_equal(example["segmentation"] == meant, trimap == stored)
    assert (int(example["label"]), example["label"].dtype) == (0, np.int32)
    assert int(samples["american_bulldog_10"].read()["label"]) == 2
    png = samples["Abyssinian_5"].read()["image"]  # a PNG with alpha, called .jpg
    assert (png.shape, samples["Abyssinian_5"].fields) == ((150, 200, 3), {"segmentation", "label"})


def test_unknown_values_and_names(tmp_path, draw):
    for stem in ("tabby_1", "tabby_2", "tabby_3", "tabby_4"):
        draw(tmp_path / f"images/{stem}.jpg")
        draw(tmp_path / f"annotations/trimaps/{stem}.png", np.full((20, 30), 1, np.uint8))
    draw(tmp_path / "annotations/trimaps/tabby_2.png", np.full((20, 30), 4, np.uint8))
    (tmp_path / "annotations/xmls").mkdir()
    head = "<name>cow</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (tmp_path / "annotations/xmls/tabby_3.xml").write_text(f"<annotation><object>{head}</object></annotation>")
    (tmp_path / "images/tabby_4.jpg").unlink()
    dataset = datasets.load(tmp_path, max_bad=0.8)
    assert {one.name: one.reason for one in dataset.bad} == {
        "tabby_2": "trimap holds value 4; 1, 2 and 3 are known",
        "tabby_3": "object named 'cow'; cat and dog are known",
        "tabby_4": "image tabby_4.jpg is missing",
    }


def test_a_name_without_a_breed_has_no_label(tmp_path, draw):
    for stem in ("tabby_1", "mimi"):
        draw(tmp_path / f"images/{stem}.jpg")
        draw(tmp_path / f"annotations/trimaps/{stem}.png", np.full((20, 30), 1, np.uint8))
    dataset = datasets.load(tmp_path)
    assert dataset.image_classes == ("tabby",)
    assert {sample.name: sorted(sample.fields) for sample in dataset} == {
        "mimi": ["segmentation"],
        "tabby_1": ["label", "segmentation"],
    }
    assert dataset[0].read().keys() == {"image", "segmentation"}

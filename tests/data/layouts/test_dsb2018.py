import numpy as np
import pytest

from kerastransfer.data import datasets


@pytest.mark.slow
def test_the_real_folder(shared_data):
    dataset = datasets.load(shared_data / "dsb2018", check=False)
    assert (len(dataset), dataset.classes, {s.split for s in dataset.samples}) == (52, ("nucleus",), {"train"})
    examples = [sample.read() for sample in dataset.samples]
    assert sum(len(example["masks"]) for example in examples) == 1108
    assert all(example["image"].shape[2] == 3 for example in examples)
    assert [s.name for s in datasets.load(shared_data / "dsb2018/stage1_train", check=False).samples] == [
        s.name for s in dataset.samples
    ]


def test_boxes_come_from_the_masks(tmp_path, draw):
    for name in ("a", "b", "c"):
        draw(tmp_path / f"stage1_train/{name}/images/{name}.png")
        mask = np.zeros((20, 30), np.uint8)
        mask[2:12, 3:9] = 255 if name != "b" else 0
        draw(tmp_path / f"stage1_train/{name}/masks/1.png", mask)
    draw(tmp_path / "stage1_train/c/masks/2.png", np.zeros((10, 10), np.uint8))
    draw(tmp_path / "stage1_test/d/images/d.png")
    dataset = datasets.load(tmp_path, max_bad=0.6)
    assert {s.name: (s.split, len(s.fields)) for s in dataset.samples} == {"a": ("train", 3), "d": ("test", 0)}
    example = dataset.samples[0].read()
    np.testing.assert_allclose(example["boxes"], [[0.1, 0.1, 0.6, 0.3]], atol=1e-6)
    assert example["masks"].dtype == bool
    assert example["segmentation"].sum() == 60
    assert {one.name: one.reason for one in dataset.bad} == {
        "b": "an object mask has no pixel",
        "c": "mask of 10 x 10 pixels, but its image has 20 x 30 pixels",
    }

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID


def test_the_real_folder(shared_data):
    dataset = datasets.load(shared_data / "CamVid", check=False)
    assert [sum(s.split == split for s in dataset.samples) for split in ("train", "val", "test")] == [123, 51, 42]
    assert (dataset.segmentation_classes[:2], len(dataset.segmentation_classes)) == (("background", "sky"), 12)
    for sample in dataset.samples[::50]:
        stored = np.array(Image.open(shared_data / "CamVid" / f"{sample.name.replace('/', 'annot/')}.png"))
        segmentation = sample.read()["segmentation"]
        np.testing.assert_array_equal(segmentation[stored < 11], stored[stored < 11] + 1)
        assert (segmentation[stored == 11] == VOID).all()


def test_lists_with_a_foreign_prefix_decide(tmp_path, draw):
    for stem in ("a", "b", "unlisted"):
        draw(tmp_path / f"train/{stem}.png")
        draw(tmp_path / f"trainannot/{stem}.png", np.full((20, 30), 12 if stem == "b" else 0, np.uint8))
    rows = [f"/SegNet/CamVid/train/{stem}.png /SegNet/CamVid/trainannot/{stem}.png" for stem in ("a", "b", "gone")]
    (tmp_path / "train.txt").write_text("\n".join(rows) + "\n")
    dataset = datasets.load(tmp_path, max_bad=0.7)
    assert [sample.name for sample in dataset.samples] == ["train/a"]
    assert {one.name: one.reason for one in dataset.bad} == {
        "train/b": "mask holds value 12; 0 to 11 are known",
        "train/gone": "image gone.png is missing",
    }
    (tmp_path / "train.txt").unlink()
    assert len(datasets.load(tmp_path, max_bad=0.7)) == 2
    (tmp_path / "train.txt").write_text("one_path_only\n")
    with pytest.raises(UserError, match="every line needs two paths"):
        datasets.load(tmp_path)

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import datasets
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID


def pair(root, stem, mask, draw, suffix=".png", palette=False):
    draw(root / f"images/{stem}.jpg")
    draw(root / f"masks/{stem}{suffix}", np.asarray(mask, np.uint8), palette)


def field(*values):
    """A mask (20, 30) of vertical stripes."""
    return np.resize(np.array(values, np.uint8), (20, 30))


def test_the_real_folder(shared_data):
    dataset = datasets.load(shared_data / "Kvasir-SEG", check=False)
    assert (len(dataset), dataset.segmentation_classes) == (600, ("background", "foreground"))
    assert [sum(s.split == split for s in dataset.samples) for split in ("train", "val")] == [500, 100]
    for sample in dataset.samples[::100]:
        example = sample.read()
        assert set(np.unique(example["segmentation"])) == {0, 1}


def test_real_jpeg_masks_are_cut_at_128(shared_data):
    dataset = datasets.load(shared_data / "Kvasir-SEG/validation", check=False)
    assert len(dataset) == 100
    for sample in dataset.samples[::25]:
        stored = np.array(Image.open(shared_data / f"Kvasir-SEG/validation/masks/{sample.name}.jpg"))
        np.testing.assert_array_equal(sample.read()["segmentation"], stored >= 128)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0,)])
def test_two_values(tmp_path, draw, values):
    pair(tmp_path, "a", field(*values), draw)
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "foreground")
    np.testing.assert_array_equal(dataset.samples[0].read()["segmentation"], field(*values) > 0)


@pytest.mark.parametrize("names", ["polyp\n", "background\npolyp\n"])
def test_a_name_for_the_foreground(tmp_path, draw, names):
    pair(tmp_path, "a", field(0, 255), draw)
    (tmp_path / "classes.txt").write_text(names)
    assert datasets.load(tmp_path).segmentation_classes == ("background", "polyp")


def test_indices_without_names(tmp_path, draw):
    pair(tmp_path / "train", "a", field(0, 1, 255), draw)
    pair(tmp_path / "test", "a", field(0, 3), draw, palette=True)
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "class 1", "class 2", "class 3")
    assert {sample.name: sample.split for sample in dataset.samples} == {"train/a": "train", "test/a": "test"}
    test, train = (sample.read()["segmentation"] for sample in dataset.samples)
    np.testing.assert_array_equal(train, field(0, 1, VOID))
    np.testing.assert_array_equal(test, field(0, 3))
    assert train.dtype == np.uint8


@pytest.mark.parametrize("usual", [(0, 1), (0, 255)])
def test_a_class_in_few_masks_is_a_class(tmp_path, draw, usual):
    """Of 100 masks two hold class 2, and none of them is among those that a glance at every third would see."""
    for number in range(100):
        pair(tmp_path, f"{number:03d}", field(*usual, 2) if number in (70, 71) else field(*usual), draw)
    if usual == (0, 1):
        dataset = datasets.load(tmp_path)
        assert dataset.segmentation_classes == ("background", "class 1", "class 2")
        np.testing.assert_array_equal(dataset.samples[71].read()["segmentation"], field(0, 1, 2))
    else:
        dataset = datasets.load(tmp_path)
        np.testing.assert_array_equal(dataset.samples[71].read()["segmentation"], field(0, VOID, 2))


def test_a_void_border_and_a_rare_class(tmp_path, draw):
    for number in range(70):
        pair(tmp_path, f"{number:03d}", field(0, 1, 255) if number % 2 else field(0, 1), draw)
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "foreground")
    assert dataset.notes == ("masks/ hold 0, 1 and 255; 255 is read as void, not as foreground",)
    np.testing.assert_array_equal(dataset.samples[1].read()["segmentation"], field(0, 1, VOID))
    pair(tmp_path, "033", field(0, 3, 255), draw)
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "class 1", "class 2", "class 3")
    np.testing.assert_array_equal(dataset.samples[33].read()["segmentation"], field(0, 3, VOID))


def test_a_value_that_no_name_explains_is_a_bad_sample(tmp_path, draw):
    for number in range(9):
        pair(tmp_path, f"{number}", field(0, 255), draw)
    pair(tmp_path, "7", field(0, 2, 255), draw)
    (tmp_path / "classes.txt").write_text("polyp\n")
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "polyp")
    assert [(one.name, one.reason) for one in dataset.bad] == [
        ("7", "mask holds value 2, but the known values are 0 and 255")
    ]


def test_names_with_and_without_background(tmp_path, draw):
    pair(tmp_path, "a", field(0, 1, 2, 255), draw)
    (tmp_path / "classes.txt").write_text("background\nroad\ncar\n")
    dataset = datasets.load(tmp_path)
    np.testing.assert_array_equal(dataset.samples[0].read()["segmentation"], field(0, 1, 2, VOID))
    (tmp_path / "classes.txt").write_text("road\ncar\nsky\n")
    dataset = datasets.load(tmp_path)
    assert dataset.segmentation_classes == ("background", "road", "car", "sky")
    np.testing.assert_array_equal(dataset.samples[0].read()["segmentation"], field(1, 2, 3, VOID))


def test_bad_pairs(tmp_path, draw):
    for k in range(3):
        pair(tmp_path, f"good{k}", field(0, 1, 2), draw)
    pair(tmp_path, "high", field(0, 3), draw)
    pair(tmp_path, "small", np.zeros((10, 30)), draw)
    pair(tmp_path, "colour", np.random.default_rng(0).integers(0, 3, (20, 30, 3)), draw)
    draw(tmp_path / "masks/lonely.png", field(0))
    draw(tmp_path / "images/unmasked.jpg")
    (tmp_path / "classes.txt").write_text("background\nroad\ncar\n")
    dataset = datasets.load(tmp_path, max_bad=0.9)
    assert [s.name for s in dataset.samples] == ["good0", "good1", "good2", "unmasked"]
    assert dataset.samples[-1].fields == frozenset()
    reasons = {one.name: one.reason for one in dataset.bad}
    assert reasons["high"] == "mask holds value 3, but the known values are 0 to 2"
    assert reasons["small"] == "mask of 10 x 30 pixels, but its image has 20 x 30 pixels"
    assert "colours" in reasons["colour"]
    assert reasons["lonely"] == "mask lonely.png has no image"


def test_greys_are_no_classes(tmp_path, draw):
    pair(tmp_path, "a", np.arange(600).reshape(20, 30) % 200, draw)
    with pytest.raises(UserError, match="200 different values; name the classes"):
        datasets.load(tmp_path)


def test_jpeg_masks_hold_no_indices(tmp_path, draw):
    pair(tmp_path, "a", field(0, 255), draw, ".jpg")
    (tmp_path / "classes.txt").write_text("background\nroad\ncar\n")
    with pytest.raises(UserError, match="store the masks as PNG"):
        datasets.load(tmp_path)

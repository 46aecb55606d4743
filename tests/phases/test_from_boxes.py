"""Training images with masks from their boxes: what `--masks from-boxes` reads in place of true ones."""

import numpy as np
import pytest

from kerastransfer.data.dataset import BadSampleError, Dataset, Sample
from kerastransfer.phases.detector import DetectorConfig
from kerastransfer.phases.from_boxes import pseudo_masked
from kerastransfer.runs.folder import RunFolder
from kerastransfer.vocabulary import VOID

BOXES = np.array([[0.1, 0.1, 0.5, 0.5], [0.4, 0.4, 0.9, 0.9], [0.6, 0.1, 0.9, 0.3]], "float32")


def example():
    """A cat, a crowd of dogs over its lower right corner, a dog."""
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype("uint8")
    return {
        "image": image,
        "boxes": BOXES,
        "labels": np.array([0, 1, 1]),
        "crowd": np.array([False, True, False]),
        "difficult": np.zeros(3, bool),
    }


def masked(folder, segmentation_classes, read=example, **how):
    data = Dataset("pets", (Sample("a/b", read, frozenset({"boxes"})),), ("cat", "dog"), segmentation_classes)
    with RunFolder("yolo_segnet", DetectorConfig(output=str(folder / "run"), **how)) as run:
        train = pseudo_masked(data, run, quiet=True)
        return train.samples[0], train.samples[0].read()["segmentation"]


def test_classes_keep_their_values_and_crowds_are_void(tmp_path):
    sample, mask = masked(tmp_path, ("background", "cat", "dog"))
    assert sample.fields == {"boxes", "segmentation"}
    assert mask[18, 18] == 1 and mask[45, 12] == 2
    crowd = mask[24:54, 24:54]
    assert np.isin(crowd, (1, VOID)).all() and crowd[20, 20] == VOID  # the cat's own box reaches into it
    assert not mask[:6].any() and not mask[:, 55:].any() and not mask[32:35, :22].any()


def test_classes_count_as_one_where_masks_have_one(tmp_path):
    _, mask = masked(tmp_path, ("background", "pet"))
    assert mask[18, 18] == mask[45, 12] == 1


def test_a_resumed_run_reads_its_masks_again(tmp_path):
    classes = ("background", "cat", "dog")
    _, mask = masked(tmp_path, classes)
    # Other pixels now: a mask made anew would differ.
    changed = {**example(), "boxes": BOXES[::-1]}
    _, again = masked(tmp_path, classes, lambda: changed, resume=True)
    np.testing.assert_array_equal(again, mask)


def test_a_mask_that_is_gone_is_a_bad_sample(tmp_path):
    sample, _ = masked(tmp_path, ("background", "pet"))
    (path,) = (tmp_path / "run/predictions/from_boxes").glob("*.png")
    assert path.name == "a_b.png"
    for damage in (lambda: path.write_bytes(path.read_bytes()[:20]), path.unlink):
        damage()
        with pytest.raises(BadSampleError, match="mask from boxes cannot be read"):
            sample.read()


def test_colours_decide_within_a_box(tmp_path):
    """A red disc on blue: its mask is the disc, not the box."""
    y, x = np.mgrid[:60, :60] - 29.5
    disc = np.hypot(y, x) < 15
    image = np.where(disc[..., None], (200, 30, 30), (30, 30, 200)).astype("uint8")
    found = {
        "image": image,
        "boxes": np.array([[0.2, 0.2, 0.8, 0.8]], "float32"),
        "labels": np.array([1]),
        "crowd": np.array([False]),
        "difficult": np.array([False]),
    }
    _, mask = masked(tmp_path, ("background", "cat", "dog"), lambda: found)
    inside = np.zeros((60, 60), bool)
    inside[12:48, 12:48] = True
    known = inside & (mask != VOID)
    assert not mask[~inside].any() and set(np.unique(mask[known])) == {0, 2}
    assert known.sum() > 0.7 * inside.sum()
    assert np.mean((mask == 2)[known] == disc[known]) > 0.98

"""Training images with masks from their boxes: what `--masks from-boxes` reads in place of true ones."""

import numpy as np

from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.phases.from_boxes import pseudo_masked
from kerastransfer.recipes.detector import DetectorConfig
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


def masked(folder, segmentation_classes):
    data = Dataset("pets", (Sample("a/b", example, frozenset({"boxes"})),), ("cat", "dog"), segmentation_classes)
    with RunFolder("yolo_segnet", DetectorConfig(output=str(folder / "run"))) as run:
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

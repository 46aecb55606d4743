import dataclasses

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.data.derive import boxes_from_segmentation, require
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID


def segmented():
    segmentation = np.zeros((100, 200), np.uint8)
    segmentation[10:30, 20:60] = 1
    segmentation[30:40, 60:80] = 1  # touches the first at a corner
    segmentation[50:90, 100:200] = 2
    segmentation[50:60, 150:160] = VOID
    segmentation[0, 0:9] = 2  # 9 of 20,000 pixels: below the share of 0.0005
    segmentation[99, 0:10] = 1  # 10 are not
    return Dataset(
        "drawn",
        (
            Sample(
                "a",
                lambda: {"image": np.zeros((100, 200, 3), np.uint8), "segmentation": segmentation},
                frozenset({"segmentation"}),
            ),
            Sample("b", lambda: {"image": np.zeros((3, 3, 3), np.uint8)}, frozenset()),
        ),
        segmentation_classes=("background", "cat", "dog"),
    )


def test_components_become_objects():
    dataset = boxes_from_segmentation(segmented())
    assert dataset.classes == ("cat", "dog")
    assert [sorted(s.fields) for s in dataset.samples] == [["boxes", "masks", "segmentation"], []]
    example = dataset.samples[0].read()
    np.testing.assert_array_equal(example["labels"], [0, 0, 1])
    np.testing.assert_allclose(
        example["boxes"], [[0.1, 0.1, 0.4, 0.4], [0.99, 0, 1, 0.05], [0.5, 0.5, 0.9, 1]], atol=1e-6
    )
    assert example["masks"].sum(axis=(1, 2)).tolist() == [1000, 10, 4000 - 100]
    assert (example["boxes"].dtype, example["masks"].dtype) == (np.float32, bool)


def test_what_was_said_of_other_objects_is_gone():
    """Hidden shares of three objects do not fit to two components."""
    from kerastransfer.data.toy import toy

    example = boxes_from_segmentation(toy(count=1, image_size=64)).samples[0].read()
    assert example.keys() == {"image", "segmentation", "boxes", "labels", "crowd", "difficult", "masks", "area"}


def test_annotations_of_what_is_derived(shared_data):
    """Boxes of samples whose segmentation is painted are read without their masks; others through the whole example."""
    boxed = boxes_from_segmentation(segmented()).samples[0]
    np.testing.assert_array_equal(boxed.annotations("boxes")["boxes"], boxed.read()["boxes"])
    coco = datasets.load(shared_data / "coco", check=False)
    bare = tuple(dataclasses.replace(s, fields=s.fields - {"segmentation"}) for s in coco.samples[:3])
    painted = require(dataclasses.replace(coco, samples=bare), "segmentation").samples[0]
    example, found = painted.read(), painted.annotations("segmentation", "boxes")
    assert found.keys() == {"size", "segmentation", "boxes", "labels", "crowd", "difficult", "area"}
    np.testing.assert_array_equal(found["segmentation"], example["segmentation"])
    assert painted.annotations("segmentation").keys() == {"size", "segmentation"}
    assert "masks" not in painted.annotations("boxes")


def test_nothing_but_background():
    empty = {"image": np.zeros((4, 4, 3), np.uint8), "segmentation": np.zeros((4, 4), np.uint8)}
    sample = Sample("a", lambda: empty, frozenset({"segmentation"}))
    dataset = boxes_from_segmentation(Dataset("d", (sample,), segmentation_classes=("background", "cat")))
    example = dataset.samples[0].read()
    assert (example["boxes"].shape, example["masks"].shape) == ((0, 4), (0, 4, 4))
    assert (example["labels"].dtype, example["masks"].dtype) == (np.int32, bool)


def test_require_derives_what_it_can():
    assert require(segmented(), "boxes", "segmentation").classes == ("cat", "dog")
    dataset = boxes_from_segmentation(segmented())
    assert require(dataset, "boxes", "masks", "segmentation") is dataset

    def instances():
        example = dataset.samples[0].read()
        del example["segmentation"]
        return example

    bare = Dataset("d", (Sample("a", instances, frozenset({"boxes", "masks"})),), ("cat", "dog"))
    painted = require(bare, "segmentation")
    assert painted.segmentation_classes == ("background", "cat", "dog")
    assert painted.samples[0].fields == {"boxes", "masks", "segmentation"}
    values, counts = np.unique(painted.samples[0].read()["segmentation"], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 20_000 - 4910, 1: 1010, 2: 3900}


@pytest.mark.parametrize(
    ("has", "needs", "message"),
    [
        (["boxes"], ["boxes", "segmentation"], "d has boxes, but segmentation needed: .*--masks from-boxes"),
        (["boxes"], ["masks"], "d has boxes, but masks needed"),
        (["label"], ["boxes"], "d has label, but boxes needed: boxes need a box per object"),
        ([], ["boxes", "masks"], "d has images only, but boxes and masks needed"),
        (["segmentation"], ["label"], "a class per image"),
    ],
)
def test_require_says_what_cannot_be_derived(has, needs, message):
    dataset = Dataset("d", (Sample("a", dict, frozenset(has)),), ("cat",))
    with pytest.raises(UserError, match=message):
        require(dataset, *needs)


def test_real_polyps(shared_data):
    dataset = require(datasets.load(shared_data / "Kvasir-SEG/validation", check=False), "boxes", "segmentation")
    assert dataset.classes == ("foreground",)
    counts = []
    for sample in dataset.samples[::5]:
        example = sample.read()
        datasets.contradiction(example, sample, dataset)
        counts.append(len(example["boxes"]))
        outside = (example["segmentation"] == 1) & ~example["masks"].any(axis=0)
        assert outside.mean() < 0.005
    assert 1 <= np.mean(counts) < 2

"""The annotations of occlusion: the real file, counted another way, and joined with VOC's own photos."""

from pathlib import Path

import numpy as np
import pytest

from kerastransfer.data import datasets, hoiem
from kerastransfer.errors import UserError
from kerastransfer.presets.labels import VOC

# Objects that are not difficult in the whole file, none / low / medium / high. The copy that the tests read has 3,943
# of its 4,952 images.
WHOLE = {
    "aeroplane": (238, 38, 5, 4),
    "bicycle": (107, 168, 57, 5),
    "bird": (328, 109, 19, 3),
    "boat": (187, 61, 14, 1),
    "cat": (269, 53, 33, 3),
    "chair": (233, 311, 174, 38),
    "diningtable": (12, 89, 90, 15),
}


@pytest.fixture(scope="module")
def folder(shared_data) -> Path:
    if not (shared_data / "detectionAnalysis").is_dir():
        pytest.skip("needs detectionAnalysis, which is not part of the package")
    return shared_data / "detectionAnalysis"


@pytest.fixture(scope="module")
def attributes(folder):
    return hoiem.read(folder)


@pytest.mark.slow
def test_the_counts_are_those_of_the_lists(folder, attributes):
    """The owners' gt_fel_CLASS.txt has a line for each object that is not difficult, in the same order."""
    assert tuple(attributes) == VOC
    for label, whole in WHOLE.items():
        one = attributes[label]
        rows = [line.split("\t") for line in (folder / f"annotations/gt_fel_{label}.txt").read_text().splitlines()[1:]]
        easy = ~one.difficult
        np.testing.assert_array_equal(one.occlusion[easy], [int(row[2]) for row in rows])
        sides = one.boxes[easy, 2:] - one.boxes[easy, :2]
        np.testing.assert_array_equal(sides.prod(axis=1), [float(row[4]) for row in rows])
        counts = np.bincount([int(row[2]) for row in rows], minlength=4)
        assert one.counts() == tuple(counts)
        assert (counts <= whole).all() and counts.sum() > 0.75 * sum(whole)
        if len(rows) == sum(whole):
            assert one.counts() == whole


@pytest.mark.slow
def test_what_is_not_annotated_is_unknown(attributes):
    for label, one in attributes.items():
        known = one.occlusion != hoiem.UNKNOWN
        np.testing.assert_array_equal(known, ~one.difficult if label in WHOLE else np.zeros(len(known), bool))
        assert (one.boxes[:, 2:] > one.boxes[:, :2]).all() and len(one.images) == len(one.numbers) == len(known)
    assert sum(len(one.images) for one in attributes.values()) == 11983


@pytest.mark.slow
def test_they_are_joined_with_the_photos(shared_data, attributes):
    dataset = datasets.load(shared_data / "VOCdevkit/VOC2007", check=False)
    known = set().union(*(one.images.tolist() for one in attributes.values()))
    samples = [sample for sample in dataset.samples if sample.name in known]
    assert len(samples) >= 5
    truths = []
    for sample in samples:
        example = sample.annotations("boxes")
        truths.append({"boxes": example["boxes"] * np.tile(example["size"], 2), "labels": example["labels"]})
    levels = hoiem.occlusion(attributes, [f"VOC2007/{one.name}" for one in samples], truths, dataset.classes)
    joined = 0
    for sample, truth, found in zip(samples, truths, levels, strict=True):
        difficult = sample.annotations("boxes")["difficult"]
        expected = [
            dataset.classes[k] in WHOLE and not hard for k, hard in zip(truth["labels"], difficult, strict=True)
        ]
        np.testing.assert_array_equal(found != hoiem.UNKNOWN, expected)
        joined += sum(expected)
    assert joined >= 3


def test_objects_are_told_apart_by_image_class_and_box():
    box = np.array([[0, 0, 10, 10], [0, 20, 10, 30]], float)
    cat, dog = (
        hoiem.Attributes(np.array(["1", "1"]), np.array([1, 2]), box, *np.zeros((2, 2), bool), np.array(level, np.int8))
        for level in ([0, 3], [1, 2])
    )
    truth = {"boxes": np.concatenate([box[::-1] + 0.2, box[:1] + 5]), "labels": np.array([0, 1, 0])}
    found = hoiem.occlusion({"cat": cat, "dog": dog}, ["a/1", "2"], [truth, truth], ("cat", "dog"))
    np.testing.assert_array_equal(found, [[3, 1, -1], [-1, -1, -1]])


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"no VOC2007_annotations_test\.mat here or in annotations/"):
        hoiem.read(tmp_path)
    path = tmp_path / hoiem.FILE
    path.write_bytes(b"no struct of MATLAB" * 20)
    with pytest.raises(UserError, match="not the annotations of Hoiem et al"):
        hoiem.read(path)
    from scipy.io import savemat

    one = {"bbox": np.ones((0, 4)), "ids": [], "onum": [], "isdiff": [], "istrunc": [], "details": []}
    savemat(path, {"ann": {"gt": [one, one]}})
    with pytest.raises(UserError, match="2 classes; the 20 of VOC are needed"):
        hoiem.read(tmp_path)
    savemat(path, {"other": 1})
    with pytest.raises(UserError, match=r"not the annotations of Hoiem et al. .*ann"):
        hoiem.read(tmp_path)

"""Few labelled images: no class is lost, larger draws contain smaller ones; and one class against all else."""

import dataclasses
import itertools

import numpy as np
import pytest

from kerastransfer.data import labelled, splits, target
from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.data.toy import toy
from kerastransfer.errors import UserError


def dataset(kinds, classes=("background", "a", "b", "c")):
    """An image of 2 x 2 pixels for each set of values."""

    def sample(index, values):
        pixels = np.resize(np.array([*values, 0], np.uint8), (2, 2))
        example = {"image": np.zeros((2, 2, 3), np.uint8), "segmentation": pixels}
        return Sample(f"{index:03d}", lambda: example, frozenset({"segmentation"}))

    samples = tuple(sample(index, values) for index, values in enumerate(kinds))
    return Dataset("drawn", samples, segmentation_classes=classes)


MIXED = [(1,)] * 40 + [(2,)] * 8 + [(3,)] * 2 + [()] * 30


def shown(found):
    values = [np.unique(sample.read()["segmentation"]) for sample in found]
    return {int(value) for one in values for value in one} - {0}


@pytest.mark.parametrize("seed", range(4))
def test_no_class_is_lost_and_draws_are_nested(seed):
    data = dataset(MIXED)
    draws = [labelled.few(data, count, seed) for count in (3, 4, 8, 20, 80)]
    assert [len(one) for one in draws] == [3, 4, 8, 20, 80]
    assert all(shown(one) == {1, 2, 3} for one in draws)
    names = [{sample.name for sample in one} for one in draws]
    assert all(small < large for small, large in itertools.pairwise(names))


def test_classes_have_their_share():
    found = labelled.few(dataset(MIXED), 0.5)
    count = {value: sum(value in np.unique(s.read()["segmentation"]) for s in found) for value in (1, 2)}
    assert len(found) == 40 and 18 <= count[1] <= 22 and 3 <= count[2] <= 5


def test_seeds_draw_differently_and_a_share_is_a_number():
    data = dataset([(1,)] * 50)
    names = lambda found: {sample.name for sample in found}  # noqa: E731
    assert names(labelled.few(data, 0.1, 0)) == names(labelled.few(data, 5, 0)) != names(labelled.few(data, 5, 1))


@pytest.mark.parametrize(
    ("kinds", "wanted", "words"),
    [
        (MIXED, 0.001, "--labelled 0.001 of 80 training images is less than one image; give 0.013 or more"),
        (MIXED, 81, "there are only 80 training images with masks"),
        (MIXED, 2.5, "neither a whole number"),
        (MIXED, 2, "leaves 1 of 3 classes without an image; give 3 images or more"),
        ([()] * 5, 2, "none of the 5 training images shows anything but background"),
    ],
)
def test_what_cannot_be_drawn(kinds, wanted, words):
    with pytest.raises(UserError, match=words):
        labelled.few(dataset(kinds), wanted)


def test_one_class_against_all_else():
    data = dataset([(1, 255), (2, 1), (3,), ()])
    found = target.only(data, "a")
    assert [sample.name for sample in found] == ["000", "001"]
    assert found.segmentation_classes == ("background", "a")
    assert shown(found) == {1, 255}
    example = found[1].annotations("segmentation")
    np.testing.assert_array_equal(example["segmentation"], np.resize([0, 1, 0], (2, 2)))
    assert "segmentation" not in found[0].annotations("boxes")
    with pytest.raises(UserError, match=r"--target d is not a class of drawn; choose a, b, c \(nearest:"):
        target.only(data, "d")
    with pytest.raises(UserError, match="no image has a pixel of the class c"):
        target.only(data[:2], "c")


def test_scenes_are_split_as_before():
    data = toy(count=40)
    train, test = splits.split(target.only(data, "star"), "every_fifth", ("segmentation",))
    assert len(labelled.few(train, 5)) == 5 and len(test)
    assert all(dataclasses.asdict(sample)["fields"] == frozenset({"segmentation"}) for sample in train)

import itertools

import pytest

from kerastransfer.data import datasets
from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.data.splits import fraction, holdout, split
from kerastransfer.errors import UserError


def dataset(*samples):
    """Samples from (split, fields) pairs, named in order."""
    made = (Sample(f"{k:03d}", dict, frozenset(fields), part) for k, (part, fields) in enumerate(samples))
    return Dataset("drawn", tuple(made))


def names(part):
    return [sample.name for sample in part.samples]


def test_every_fifth():
    train, test = split(dataset(*[(None, ["boxes"])] * 12))
    assert names(test) == ["004", "009"]
    assert names(train) == ["000", "001", "002", "003", "005", "006", "007", "008", "010", "011"]


def test_fields_do_not_move_the_test_images():
    """A phase that asks for boxes must not train on images that a phase asking for masks tests on."""
    data = dataset(*[(None, ["boxes"] if k % 3 else ["boxes", "masks"]) for k in range(30)])
    _, test = split(data, fields=("boxes",))
    train_masks, test_masks = split(data, fields=("masks",))
    assert set(names(test_masks)) <= set(names(test))
    assert not set(names(train_masks)) & set(names(test))


def test_the_owners_rule():
    both = dataset(("train", ["boxes"]), ("val", ["boxes"]), ("test", ["boxes"]), (None, ["boxes"]))
    assert [names(part) for part in split(both, "owner")] == [["000"], ["002"]]
    blind_test = dataset(("train", ["boxes"]), ("val", ["boxes"]), ("test", []))
    assert [names(part) for part in split(blind_test, fields=("boxes",))] == [["000"], ["001"]]


def test_auto_falls_back():
    data = dataset(*[("train", ["boxes"])] * 5, ("test", []))
    assert [names(part) for part in split(data, "auto", ("boxes",))] == [["000", "001", "002", "003"], ["004"]]
    with pytest.raises(UserError, match="5 images train and 0 test; use the rule every_fifth"):
        split(data, "owner", ("boxes",))


def test_what_cannot_be_split():
    with pytest.raises(UserError, match=r"1 images.*leave 1 to train and 0 to test.*give 5 images or more"):
        split(dataset((None, ["boxes"])))
    with pytest.raises(UserError, match="none of 2 images has masks; annotated are boxes"):
        split(dataset((None, ["boxes"]), (None, [])), fields=("masks",))
    with pytest.raises(UserError, match="split rule 'random' is not known"):
        split(dataset((None, [])), "random")
    with pytest.raises(UserError, match="of 1 training images leaves 1 to train on and 0 to validate on"):
        holdout(dataset((None, ["boxes"])), 0.1, 0)


def test_holdout():
    data = dataset(*[(None, [])] * 10)
    train, validation = holdout(data, 0.3, seed=1)
    assert len(validation) == 3 and sorted(names(train) + names(validation)) == names(data)
    assert names(holdout(data, 0.3, seed=1)[1]) == names(validation) != names(holdout(data, 0.3, seed=2)[1])


def test_fractions_are_nested_and_repeat():
    data = dataset(*[(None, [])] * 100)
    parts = [set(names(fraction(data, share, seed=3))) for share in (0.01, 0.05, 0.07, 0.29, 0.57, 1.0)]
    assert [len(part) for part in parts] == [1, 5, 7, 29, 57, 100]
    for smaller, larger in itertools.pairwise(parts):
        assert smaller < larger
    assert names(fraction(data, 0.29, 3)) == sorted(parts[3])
    assert set(names(fraction(data, 0.29, 4))) != parts[3]


def test_a_fraction_hardly_changes_when_an_image_goes():
    data = dataset(*[(None, [])] * 100)
    before = set(names(fraction(data, 0.3)))
    after = set(names(fraction(data.only(set(names(data)) - {"050"}), 0.3)))
    assert len(before - after - {"050"}) <= 1


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan")])
def test_no_such_fraction(share):
    with pytest.raises(UserError, match="outside"):
        fraction(dataset((None, [])), share)


def test_a_fraction_that_leaves_nothing():
    with pytest.raises(UserError, match=r"--fraction 0.01 of 40 training images leaves none; 0.025 is the least"):
        fraction(dataset(*[(None, [])] * 40), 0.01)
    with pytest.raises(UserError, match="of 0 training images leaves none"):
        fraction(dataset(), 0.5)


def test_real_splits(shared_data):
    def sizes(folder, *fields):
        return [len(part) for part in split(datasets.load(shared_data / folder, check=False), fields=fields)]

    assert sizes("PennFudanPed", "boxes", "masks") == [109, 27]
    assert sizes("BCCD", "boxes") == [170, 58]
    assert sizes("CamVid", "segmentation") == [123, 42]
    assert sizes("coco", "boxes") == [89, 100]
    assert sizes("oxford-iiit-pet", "segmentation") == [385, 96]  # heads are boxed in the owner's training part only
    assert sum(sizes("oxford-iiit-pet", "boxes", "segmentation")) == 237

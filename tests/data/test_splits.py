import dataclasses
import functools
import itertools
import time

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.data.dataset import Dataset, Sample
from kerastransfer.data.splits import fraction, holdout, split, spread
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


def annotated(*classes, field="label"):
    """A data set whose k-th sample has these classes: a number, or several in boxes or in a segmentation."""

    def read(own):
        if field == "label":
            return {"image": np.zeros((4, 4, 3), np.uint8), "label": np.int32(own)}
        own = np.array(own, np.int32)
        if field == "segmentation":
            segmentation = np.zeros((4, 4), np.uint8)
            segmentation[0, : len(own)] = own
            return {"image": np.zeros((4, 4, 3), np.uint8), "segmentation": segmentation}
        flags = {"crowd": own < 0, "difficult": np.zeros(len(own), bool)}
        boxes = np.tile(np.float32([0, 0, 1, 1]), (len(own), 1))
        return {"image": np.zeros((4, 4, 3), np.uint8), "boxes": boxes, "labels": np.abs(own), **flags}

    made = (Sample(f"{k:04d}", functools.partial(read, own), frozenset({field})) for k, own in enumerate(classes))
    return Dataset("drawn", tuple(made))


def counts(part, classes):
    """In how many samples of the part each class occurs."""
    return [sum(own in classes[int(name)] for name in names(part)) for own in sorted(set().union(*classes))]


def test_a_holdout_is_a_partition_and_repeats():
    data = annotated(*[0] * 50)
    train, validation = holdout(data, 0.2, 3)
    assert (len(train), len(validation)) == (40, 10)
    assert sorted(names(train) + names(validation)) == names(data)
    assert names(train) == sorted(names(train)) and names(validation) == sorted(names(validation))
    assert [names(part) for part in holdout(data, 0.2, 3)] == [names(train), names(validation)]
    assert names(holdout(data, 0.2, 4)[1]) != names(validation)
    backwards = dataclasses.replace(data, samples=data.samples[::-1])
    assert set(names(holdout(backwards, 0.2, 3)[1])) == set(names(validation))


def test_a_holdout_has_every_class_in_its_proportion():
    labels = [0] * 90 + [1] * 10 + [2] * 20
    train, validation = holdout(annotated(*labels), 0.1, 0)
    assert counts(validation, [[label] for label in labels]) == [9, 1, 2]
    train, validation = holdout(annotated(*[k // 2 for k in range(20)]), 0.2, 0)  # ten classes of two images each
    assert len(validation) == 4
    assert sorted(counts(train, [[k // 2] for k in range(20)])) == [1] * 4 + [2] * 6


@pytest.mark.parametrize("field", ["boxes", "segmentation"])
def test_a_holdout_of_images_with_several_classes(field):
    """A class of one image, and a class that only ever stands beside others, stay in training."""
    rng = np.random.default_rng(0)
    classes = [sorted({1, *rng.choice([2, 3], rng.integers(0, 3)).tolist()}) for _ in range(60)]
    classes[7], classes[20], classes[21] = [4], [1, 5], [2, 5]
    train, validation = holdout(annotated(*classes, field=field), 0.25, 1)
    assert len(validation) == 15
    assert min(counts(train, classes)) >= 1
    everywhere, held = np.array(counts(train, classes)) + counts(validation, classes), counts(validation, classes)
    np.testing.assert_allclose(held[:3], 0.25 * everywhere[:3], atol=2)


def test_images_without_an_object_are_a_class_of_their_own():
    _, validation = holdout(annotated(*[[1]] * 40, *[[]] * 20, field="boxes"), 0.1, 0)
    assert sum(int(name) >= 40 for name in names(validation)) == 2


def test_a_crowd_is_no_example_of_its_class():
    """Class 2 is taught by one image alone, the last: the others show crowds of it."""
    classes = [[1, -2]] * 9 + [[1, 2]]
    for seed in range(5):
        assert "0009" in names(holdout(annotated(*classes, field="boxes"), 0.5, seed)[0])


def test_a_holdout_of_many_images_is_fast():
    rng = np.random.default_rng(0)
    membership = rng.random((20_000, 80)) < 0.04
    membership[:, 0] |= ~membership.any(axis=1)
    began = time.perf_counter()
    chosen = spread(membership, 2000)
    assert time.perf_counter() - began < 20
    assert len(chosen) == 2000
    np.testing.assert_allclose(membership[chosen].sum(0) / membership.sum(0), 0.1, atol=0.035)
    assert membership[chosen].sum(1).mean() == pytest.approx(membership.sum(1).mean(), rel=0.03)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan"), 0.001, 0.99])
def test_a_holdout_that_leaves_a_side_empty(share):
    with pytest.raises(UserError, match="validation"):
        holdout(annotated(*[0] * 20), share, 0)


def test_a_holdout_where_each_image_is_the_only_one_of_its_class():
    with pytest.raises(UserError, match="only one of its class"):
        holdout(annotated(0, 1, 2, 3), 0.5, 0)


@pytest.mark.parametrize("field", ["boxes", "masks", "label"])
def test_auto_needs_each_annotated_field_on_both_sides(field):
    """The owner's test images have none of the field: the owner's split cannot serve a phase that asks for it."""
    owner = [("train", ["segmentation", field])] * 5 + [("test", ["segmentation"])] * 5
    assert len(split(dataset(*owner), "auto", (field,))[1]) == 1


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
    assert sizes("clothing-dataset-small", "label") == [580, 186]
    assert sizes("oxford-iiit-pet", "segmentation") == [385, 96]  # heads are boxed in the owner's training part only
    assert sum(sizes("oxford-iiit-pet", "boxes", "segmentation")) == 237


def test_a_real_holdout_keeps_every_class(shared_data):
    train, _ = split(datasets.load(shared_data / "coco", check=False), fields=("boxes",))

    def classes(part):
        return {int(label) for s in part.samples for label in s.annotations("boxes")["labels"]}

    kept, held = holdout(train, 0.2, 0)
    assert (len(kept), len(held)) == (71, 18)
    assert classes(kept) == classes(train)

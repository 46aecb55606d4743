import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.data.choose_classes import chosen, renamed
from kerastransfer.data.dataset import FIELDS, Dataset, Sample, part
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

BOXES = np.array([[0, 0, 0.5, 0.5], [0, 0, 1, 1], [0.5, 0.5, 1, 1]], np.float32)
SEGMENTATION = np.array([[0, 1, 2], [3, VOID, 3]], np.uint8)


def example(label=0):
    return {
        "image": np.zeros((2, 3, 3), np.uint8),
        "boxes": BOXES,
        "labels": np.array([0, 1, 2], np.int32),
        "crowd": np.array([False, True, False]),
        "difficult": np.array([False, False, True]),
        "area": np.array([1, 2, 3], np.float32),
        "masks": np.eye(3, 6, dtype=bool).reshape(3, 2, 3),
        "segmentation": SEGMENTATION,
        "label": np.asarray(label, np.int32),
    }


NAMES = ("man", "woman", "dog")


def data(*fields, labels=(0,)):
    samples = [Sample(str(k), lambda k=k: example(k), frozenset(fields)) for k in labels]
    return Dataset("set", tuple(samples), NAMES, ("background", *NAMES), NAMES)


def test_objects_that_are_left_out_take_all_their_values_along():
    dataset = chosen(data("boxes", "masks"), ["dog", "man"])
    assert dataset.classes == ("man", "dog")
    for found in (dataset[0].read(), dataset[0].annotations("boxes", "masks")):
        assert found["labels"].tolist() == [0, 1]
        np.testing.assert_array_equal(found["boxes"], BOXES[[0, 2]])
        np.testing.assert_array_equal(found["masks"], example()["masks"][[0, 2]])
        assert found["crowd"].tolist() == [False, False] and found["difficult"].tolist() == [False, True]
        assert found["area"].tolist() == [1, 3]
    assert dataset[0].annotations("masks").keys() == {"size", "masks"}
    assert len(dataset[0].annotations("masks")["masks"]) == 2


def test_an_image_without_a_chosen_object_stays():
    with_dogs = chosen(data("boxes"), ["dog"])
    assert with_dogs.classes == ("dog",)
    none = Sample("none", lambda: example() | {"labels": np.array([0, 0, 1], np.int32)}, frozenset({"boxes"}))
    dataset = chosen(Dataset("set", (none,), NAMES), ["dog"])
    assert len(dataset) == 1 and dataset[0].read()["boxes"].shape == (0, 4)


def test_what_is_left_out_of_a_segmentation_is_background_and_void_stays():
    dataset = chosen(data("segmentation"), ["dog"])
    assert dataset.segmentation_classes == ("background", "dog")
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], [[0, 0, 0], [1, VOID, 1]])


def test_merged_classes():
    dataset = chosen(data("boxes", "segmentation", "label", labels=(0, 1, 2)), merge=["person=woman,man"])
    assert dataset.classes == dataset.image_classes == ("person", "dog")
    assert dataset.segmentation_classes == ("background", "person", "dog")
    assert dataset[0].read()["labels"].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(dataset[0].read()["segmentation"], [[0, 1, 1], [2, VOID, 2]])
    assert [int(sample.read()["label"]) for sample in dataset] == [0, 0, 1]
    person = chosen(data("boxes"), ["person"], ["person=woman,man"])
    assert person.classes == ("person",) and person[0].read()["labels"].tolist() == [0, 0]
    # A class may be put into one that is there.
    assert chosen(data("boxes"), merge=["man=woman"]).classes == ("man", "dog")


def test_images_whose_label_is_left_out():
    dataset = chosen(data("label", labels=(0, 1, 2)), ["man", "dog"])
    assert [(sample.name, int(sample.read()["label"])) for sample in dataset] == [("0", 0), ("2", 1)]
    both = chosen(data("boxes", "label", labels=(0, 1, 2)), ["man", "dog"])
    assert [sorted(sample.fields) for sample in both] == [["boxes", "label"], ["boxes"], ["boxes", "label"]]
    assert "label" not in both[1].read() and "label" not in both[1].annotations("label")
    # One label says nothing; the boxes do.
    one = chosen(data("boxes", "label"), ["dog"])
    assert (one.classes, one.image_classes, one[0].fields) == (("dog",), (), {"boxes"})


@pytest.mark.parametrize(
    ("classes", "merge", "message"),
    [
        (["dgo"], [], "--classes dgo: set has no class dgo; the nearest is dog, all are man, woman, dog, background"),
        ([], ["person=man,womam"], "--merge person=man,womam: set has no class womam; the nearest is woman"),
        ([], ["person"], "--merge person: give a new name and the classes to join, as in person=man,woman"),
        ([], ["=man"], "give a new name"),
        ([], ["a=man", "b=man"], "--merge puts man into a and into b; give each class once"),
        (["man"], ["person=man,woman"], "--classes man: --merge makes it person; choose that"),
        ([], ["background=man,woman,dog"], "leave one class, background, of 4 in the segmentation; keep two"),
        (["background"], [], "leave one class, background, of 4 in the segmentation"),
        ("dog", [], r"classes 'dog': give a sequence of names, as in \['dog'\]"),
        ([], "person=man", r"merge 'person=man': give a sequence"),
        ([], ["x\ny=man"], r"--merge: the class name 'x\\ny' has a line break or a control character; rename it"),
        ([], ["\x1b[2J=man"], "--merge: the class name .* has a line break or a control character"),
        ([], ["x" * 201 + "=man"], r"--merge: a class name of 201 letters \(x{30}\.\.\.\); 200 is the most"),
    ],
)
def test_mistakes(classes, merge, message):
    with pytest.raises(UserError, match=message):
        chosen(data("boxes", "segmentation"), classes, merge)


@pytest.mark.parametrize(("classes", "merge"), [(["dog"], []), ([], ["all=man,woman,dog"])])
def test_one_label_of_images_alone(classes, merge):
    dataset = Dataset("set", data("label", labels=(0, 1, 2)).samples, image_classes=NAMES)
    with pytest.raises(UserError, match=r"leave one class, .*, of 3 in the labels of images; keep two"):
        chosen(dataset, classes, merge)


def test_names_of_a_model():
    labels = ["motorbike", "dog"]
    dataset = Dataset("set", data("boxes").samples, ("motorcycle", "scooter", "dog"))
    assert renamed(dataset, ["motorcycle=motorbike"], labels).classes == ("motorbike", "scooter", "dog")
    both = renamed(dataset, ["motorcycle=motorbike", "scooter=motorbike"], labels)
    assert both.classes == ("motorbike", "dog") and both[0].read()["labels"].tolist() == [0, 0, 1]
    for pair, message in {
        "motorbike=motorcycle": "the data's class comes first; give motorcycle=motorbike",
        "moped=motorbike": "the data has no class moped; the nearest is",
        "motorcycle=bike": "the model has no class bike; the nearest is motorbike",
        "motorcycle": "give a class of the data and one of the model",
    }.items():
        with pytest.raises(UserError, match=message):
            renamed(dataset, [pair], labels)


def test_classes_of_a_folder(tmp_path, draw):
    for name in ("man/1", "woman/1", "dog/1"):
        draw(tmp_path / f"{name}.jpg")
    dataset = datasets.load(tmp_path, merge=["person=man,woman"])
    assert dataset.image_classes == ("dog", "person")
    assert {s.name: int(s.annotations("label")["label"]) for s in dataset} == {"dog/1": 0, "man/1": 1, "woman/1": 1}


class Asked:
    """Reads `example()`, and remembers the fields that were asked for."""

    def __init__(self):
        self.fields = []

    def __call__(self):
        return self.example(frozenset(("boxes", "masks", "segmentation")))

    def example(self, fields):
        self.fields.append(fields)
        return {"image": example()["image"]} | part(example(), fields)


@pytest.mark.parametrize(
    ("asked", "read"), [("boxes", {"boxes"}), ("masks", {"boxes", "masks"}), ("segmentation", {"segmentation"})]
)
def test_what_is_not_asked_for_is_not_read(asked, read):
    reader = Asked()
    sample = Sample("a", reader, frozenset(("boxes", "masks", "segmentation")))
    dataset = chosen(Dataset("set", (sample,), NAMES, ("background", *NAMES)), ["dog", "man"])
    found, whole = dataset[0].example(asked), dataset[0].read()
    assert reader.fields[0] == read
    for name in FIELDS[asked]:
        np.testing.assert_array_equal(found.get(name, ()), whole.get(name, ()))


def test_a_damaged_image_of_a_run_that_goes_on_keeps_its_place(tmp_path, draw):
    for name in ("man/1", "man/2", "woman/1", "dog/1"):
        draw(tmp_path / f"{name}.jpg")
    names = [sample.name for sample in datasets.load(tmp_path, classes=["man", "dog"])]
    (tmp_path / "man/1.jpg").write_bytes(b"damaged")
    again = datasets.load(tmp_path, classes=["man", "dog"], trusted=names)
    assert [sample.name for sample in again] == names

import importlib.util
import sys

import numpy as np
import pytest

from kerastransfer.data import datasets
from kerastransfer.errors import UserError
from kerastransfer.vocabulary import VOID

installed = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None, reason="tensorflow-datasets is not installed"
)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 16, 3), np.uint8)
TRIMAP = np.resize(np.array([1, 2, 3], np.uint8), (8, 16, 1))


def prepared(name, features, splits, folder):
    """The folder of a builder of this name with the given records; no code of the real one runs."""
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None  # it lies in no package

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {split: self._generate_examples(records) for split, records in splits.items()}

        def _generate_examples(self, records=()):
            yield from enumerate(records)

    Builder.name = name
    builder = Builder(data_dir=folder)
    builder.download_and_prepare()
    return builder.data_dir


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Image k has k boxes; three images train and two test."""
    import tensorflow_datasets as tfds

    thing = {
        "bbox": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        "is_crowd": tfds.features.Scalar(np.bool_),
    }
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "objects": tfds.features.Sequence(thing),
        "label": tfds.features.ClassLabel(names=["indoor", "outdoor"]),
    }
    box = {"bbox": tfds.features.BBox(0.0, 0.25, 0.5, 1.0), "label": 1, "is_crowd": True}
    records = [{"image": PIXELS[k], "objects": [box] * k, "label": k % 2} for k in range(3)]
    return prepared("tiny_scenes", features, {"train": records, "test": records[:2]}, tmp_path_factory.mktemp("tfds"))


@installed
def test_a_prepared_builder(scenes):
    dataset = datasets.load(f"tfds:{scenes}")
    assert (dataset.name, dataset.classes) == ("tiny_scenes", ("cat", "dog"))
    assert dataset.image_classes == ("indoor", "outdoor")
    assert [sample.split for sample in dataset.samples] == ["test"] * 2 + ["train"] * 3
    examples = [sample.read() for sample in dataset.samples]
    assert sorted(len(example["boxes"]) for example in examples[2:]) == [0, 1, 2]
    for example in examples:
        count = len(example["boxes"])
        np.testing.assert_array_equal(example["image"], PIXELS[count])
        np.testing.assert_array_equal(example["boxes"], np.tile(np.float32([0, 0.25, 0.5, 1]), (count, 1)))
        assert (example["labels"].tolist(), example["crowd"].tolist()) == ([1] * count, [True] * count)
        dtypes = [example[key].dtype for key in ("boxes", "labels", "crowd", "label")]
        assert dtypes == [np.float32, np.int32, bool, np.int32]
        assert int(example["label"]) == count % 2


@installed
def test_difficult_objects_are_no_crowds(tmp_path):
    """The features of voc: is_difficult stands beside is_truncated."""
    import tensorflow_datasets as tfds

    flags = {name: tfds.features.Scalar(np.bool_) for name in ("is_truncated", "is_difficult")}
    thing = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=["cat"]), **flags}
    features = {"image": tfds.features.Image(encoding_format="png"), "objects": tfds.features.Sequence(thing)}
    box = {"bbox": tfds.features.BBox(0.0, 0.25, 0.5, 1.0), "label": 0}
    things = [box | {"is_truncated": True, "is_difficult": False}, box | {"is_truncated": False, "is_difficult": True}]
    records = [{"image": PIXELS[0], "objects": things}]
    (sample,) = datasets.load(f"tfds:{prepared('tiny_voc', features, {'train': records}, tmp_path)}").samples
    example = sample.read()
    assert example["crowd"].tolist() == [False, False]
    assert example["difficult"].tolist() == [False, True]
    assert example["truncated"].tolist() == [True, False]


@installed
def test_one_split(scenes):
    assert [s.name for s in datasets.load(f"tfds:{scenes}:test").samples] == ["test/00000000", "test/00000001"]
    assert len(datasets.load(f"tfds:{scenes}:train[:2]")) == 2
    with pytest.raises(UserError, match="has no split 'dev'; it has train, test"):
        datasets.load(f"tfds:{scenes}:dev")


@installed
def test_pets(tmp_path):
    """The features of oxford_iiit_pet 4.0.0: trimaps, and a head's box of zeros where nobody drew one."""
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=["Abyssinian", "beagle"]),
        "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
        "file_name": tfds.features.Text(),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
        "head_bbox": tfds.features.BBoxFeature(),
    }
    pet = {"image": PIXELS[0], "label": 1, "species": 1, "file_name": "beagle_1.jpg", "segmentation_mask": TRIMAP}
    heads = [tfds.features.BBox(0.0, 0.0, 0.0, 0.0), tfds.features.BBox(0.0, 0.25, 0.5, 1.0)]
    records = [pet | {"head_bbox": head} for head in heads]
    dataset = datasets.load(f"tfds:{prepared('oxford_iiit_pet', features, {'train': records}, tmp_path)}")
    assert (dataset.classes, dataset.segmentation_classes) == (("Cat", "Dog"), ("background", "pet"))
    assert len(dataset.having("boxes")) == 1
    assert len(dataset.having("segmentation", "label")) == 2
    example = dataset.having("boxes").samples[0].read()
    np.testing.assert_array_equal(example["boxes"], [[0, 0.25, 0.5, 1]])
    assert (example["labels"].tolist(), int(example["label"])) == ([1], 1)
    np.testing.assert_array_equal(example["segmentation"], np.array([99, 1, 0, VOID])[TRIMAP[..., 0]])


@installed
def test_an_unknown_builder():
    with pytest.raises(UserError, match=r"^tfds:oxford_iiit_pest is not a known builder: .*$"):
        datasets.load("tfds:oxford_iiit_pest")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match="pip install"):
        datasets.load("tfds:oxford_iiit_pet")


def test_a_name_is_needed():
    with pytest.raises(UserError, match="tfds:NAME"):
        datasets.load("tfds:")

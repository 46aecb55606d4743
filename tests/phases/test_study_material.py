"""What studies read: in the order and units that they expect, for every image."""

import dataclasses
import types

import keras
import numpy as np
import pytest

from kerastransfer.analysis import trimap
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.data import derive
from kerastransfer.data.toy import CLASSES, toy
from kerastransfer.errors import UserError
from kerastransfer.phases import study_material
from kerastransfer.tasks.classification import Classification
from kerastransfer.tasks.detection import Detections
from kerastransfer.tasks.segmentation import Segmentation
from kerastransfer.vocabulary import VOID

SCENES = derive.require(toy(count=6, image_size=48), "label")


def predictor(labels, say):
    """A predictor of these labels that recognises the drawn scenes: `say(example)` is its prediction."""
    known = {sample.read()["image"].tobytes(): sample.read() for sample in SCENES.samples}
    about = types.SimpleNamespace(labels=labels)
    return types.SimpleNamespace(about=about, predict=lambda image, **limits: say(known[image.tobytes()], labels))


def finds_all(example, labels):
    names = tuple(CLASSES[label] for label in example["labels"])
    found = np.array([labels.index(name) for name in names], np.int32)
    return Detections(example["boxes"], np.ones(len(found), np.float32), found, names, example["image"].shape[:2])


def paints_all(example, labels):
    number = np.array([labels.index(name) for name in ("background", *CLASSES)], np.uint8)
    return Segmentation(number[example["segmentation"]], np.zeros((1, 1, len(labels)), np.float32), labels)


def knows_all(example, labels):
    probabilities = np.array([name == CLASSES[int(example["label"])] for name in labels], np.float32)
    return Classification(probabilities, labels)


def test_detections_are_in_pixels_and_in_the_order_of_the_first_models_classes():
    models = {"a": predictor(CLASSES[::-1], finds_all), "b": predictor(CLASSES, finds_all)}
    found = study_material.detected(models, SCENES, quiet=True)
    assert found.classes == CLASSES[::-1] and len(found.names) == 6
    for index, sample in enumerate(SCENES.samples):
        example, truth = sample.read(), found.truths[index]
        assert [found.classes[label] for label in truth["labels"]] == [CLASSES[label] for label in example["labels"]]
        np.testing.assert_array_equal(truth["hidden"], example["hidden"])
        for model in models:
            np.testing.assert_allclose(found.found[model][index]["boxes"], 48 * example["boxes"], atol=1e-4)
            np.testing.assert_array_equal(found.found[model][index]["labels"], truth["labels"])


def test_maps_come_back_from_their_files(tmp_path):
    labels = ("background", *CLASSES)
    models = {"a": predictor(labels, paints_all), "b": predictor(("background", *CLASSES[::-1]), paints_all)}
    found = study_material.segmented(models, SCENES, tmp_path, quiet=True)
    for index, sample in enumerate(SCENES.samples):
        truth = sample.read()["segmentation"]
        np.testing.assert_array_equal(found.truth(index), truth)
        np.testing.assert_array_equal(found.found["a"](index), truth)
        # The second model numbers its classes otherwise.
        np.testing.assert_array_equal(found.found["b"](index), truth)
    # What is there is not predicted again.
    for model in models.values():
        model.predict = None
    again = study_material.segmented(models, SCENES, tmp_path, quiet=True)
    np.testing.assert_array_equal(again.found["b"](0), found.found["b"](0))


def test_images_of_a_class_that_the_models_do_not_know_are_left_out():
    knowers = {name: predictor(CLASSES[:3], knows_all) for name in "ab"}
    found = study_material.classified(knowers, SCENES, quiet=True)
    known = [sample for sample in SCENES.samples if int(sample.read()["label"]) < 3]
    assert list(found.names) == [sample.name for sample in known] and len(known) < 6
    assert (found.found["a"].argmax(axis=1) == found.truth).all()


def test_probabilities_are_in_the_same_order_for_both_models():
    models = {"a": predictor(CLASSES, knows_all), "b": predictor(CLASSES[::-1], knows_all)}
    found = study_material.classified(models, SCENES, quiet=True)
    np.testing.assert_array_equal(found.found["a"], found.found["b"])


def test_models_of_other_classes_are_refused():
    models = {"a": predictor(CLASSES, finds_all), "b": predictor(CLASSES[:3], finds_all)}
    with pytest.raises(UserError, match="a knows the classes disc, square, triangle, star, b disc, square, triangle;"):
        study_material.detected(models, SCENES, quiet=True)


@pytest.fixture(scope="module")
def encoder():
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3, 2, padding="same")(image / 255)
    return keras.Model(image, {"c1": x, "c2": keras.layers.Conv2D(6, 3, 2, padding="same")(x)}, name="encoder")


# The last three train.
TEST, TRAIN = SCENES[:3], SCENES[3:]


def features(encoder, folder, test=TEST, resize="stretch", **more):
    options = {**more, "image_size": 32, "resize": resize, "taps": {"a": "c1", "b": "c2"}, "heads": {}, "quiet": True}
    return study_material.features({"a": encoder, "b": encoder}, TRAIN, test, folder, **options)


def test_features_are_those_of_the_encoder(encoder, tmp_path):
    found = features(encoder, tmp_path)
    assert found.images.shape == (6, 32, 32, 3) and found.train.tolist() == [True] * 3 + [False] * 3
    assert {name: maps.shape for name, maps in found.maps.items()} == {"a": (6, 16, 16, 4), "b": (6, 8, 8, 6)}
    assert all(isinstance(maps.base, np.memmap) or isinstance(maps, np.memmap) for maps in found.maps.values())
    expected = np.asarray(encoder(np.asarray(found.images, np.float32))["c2"])
    np.testing.assert_allclose(found.maps["b"], expected, atol=2e-3)
    np.testing.assert_allclose(found.pooled["b"], expected.mean(axis=(1, 2)), atol=1e-3)
    np.testing.assert_allclose(found.encoders["b"](found.images[:3]), expected[:3].mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(found.mean, np.asarray(found.images, float).mean(axis=(0, 1, 2)), rtol=1e-6)


def test_labels_and_boxes_are_those_of_the_images(encoder, tmp_path):
    found = features(encoder, tmp_path)
    assert found.classes == CLASSES
    for index, sample in enumerate([*TRAIN, *TEST]):
        assert found.names[index] == sample.name and found.labels[index] == sample.read()["label"]
        np.testing.assert_allclose(found.boxes[index], sample.read()["boxes"])


def test_studies_that_fit_nothing_read_test_images_alone(encoder, tmp_path):
    found = features(encoder, tmp_path)
    unseen = found.unseen
    assert list(unseen.names) == [sample.name for sample in TEST] and not unseen.train.any()
    np.testing.assert_array_equal(unseen.pooled["a"], found.pooled["a"][3:])
    np.testing.assert_array_equal(unseen.labels, found.labels[3:])
    assert len(unseen.images) == len(unseen.boxes) == len(unseen.maps["b"]) == 3
    assert np.shares_memory(unseen.images, found.images)
    assert list(unseen.unseen.names) == list(unseen.names)
    every = features(encoder, tmp_path, all_unseen=True)
    assert list(every.unseen.names) == list(every.names) and every.train.any()


def test_an_image_without_boxes_has_none_and_without_labels_there_are_none(encoder, tmp_path):
    first = dataclasses.replace(TEST.samples[0], fields=frozenset({"segmentation"}))
    found = features(encoder, tmp_path, dataclasses.replace(TEST, samples=(first, *TEST.samples[1:])))
    assert [len(boxes) > 0 for boxes in found.boxes] == [True] * 3 + [False, True, True]
    assert found.labels is None


def test_boxes_are_fractions_of_the_letterboxed_picture(encoder, tmp_path):
    def wide():
        example = TEST.samples[0].read()
        return example | {"image": example["image"][:24]}

    sample = dataclasses.replace(TEST.samples[0], read=wide)
    found = features(encoder, tmp_path, dataclasses.replace(TEST, samples=(sample,)), "letterbox")
    y1, x1, y2, x2 = wide()["boxes"].T
    # The image fills the middle half of the picture's height.
    np.testing.assert_allclose(found.boxes[3], np.stack([0.25 + y1 / 2, x1, 0.25 + y2 / 2, x2], axis=1), atol=1e-6)


def test_void_is_what_no_model_knows(tmp_path):
    labels = ("background", *CLASSES[:3])

    def paints_few(example, labels):
        return Segmentation(np.where(example["segmentation"] == 4, 0, example["segmentation"]), None, labels)

    models = {name: predictor(labels, paints_few) for name in "ab"}
    found = study_material.segmented(models, SCENES, tmp_path, quiet=True)
    for index, sample in enumerate(SCENES.samples):
        star = sample.read()["segmentation"] == 4
        np.testing.assert_array_equal(found.truth(index) == VOID, star)
    # Bands around stars would not be around contours of what is scored.
    with pytest.raises(LeftOut, match="classes that the models do not know \\(star\\)"):
        trimap.study(trimap.Settings(), found, iter)

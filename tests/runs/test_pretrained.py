"""Published weights by name, from the files that their owners published."""

import keras
import numpy as np
import pytest

import kerastransfer as kt
from kerastransfer.errors import UserError
from kerastransfer.export.keras_predictor import KerasPredictor
from kerastransfer.models.adapter import PREPROCESSING
from kerastransfer.presets import PRESETS
from kerastransfer.presets.labels import COCO
from kerastransfer.presets.preset import Application
from kerastransfer.runs import pretrained, trained
from kerastransfer.tasks import TASKS, images


@pytest.fixture(autouse=True)
def mirror(monkeypatch, tmp_path):
    monkeypatch.setenv("KERASTRANSFER_HOME", str(tmp_path))
    monkeypatch.setenv("KERASTRANSFER_MIRROR", str(tmp_path))
    return monkeypatch


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match=r"unknown preset yolov3-tinny; .*nearest: yolov3-tiny"):
        trained.encoder("yolov3-tinny")


@pytest.mark.slow
def test_published_detectors_find_what_is_in_a_photo(mirror, shared_weights, shared_data):
    """Both find the player and the glove in a photo of COCO's validation set."""
    mirror.setenv("KERASTRANSFER_MIRROR", str(shared_weights))
    older = {"motorbike", "aeroplane", "sofa", "pottedplant", "diningtable", "tvmonitor"}
    darknets = (shared_weights / "yolov3-tiny" / "coco.names").read_text().split("\n")[:80]
    assert {theirs for theirs, ours in zip(darknets, COCO, strict=True) if theirs != ours} == older
    photo = images.read(shared_data / "coco" / "val2017" / "000000010764.jpg")
    for name in ("yolov3-tiny", "yolo-fastest-1.1-xl"):
        network, about = pretrained.detector(name)
        found = KerasPredictor(TASKS["detection"].graph(network, about), about).predict(photo)
        assert {COCO[found.labels[place]] for place in np.argsort(found.scores)[-2:]} == {"person", "baseball glove"}
        assert np.sort(found.scores)[-2] > 0.8
    network, about = pretrained.detector("yolov3-tiny")
    assert about.labels == COCO and about.image_size == (416, 416) and about.resize == "letterbox"
    assert about.decoder.levels == (("p4", 16, (1, 2, 3)), ("p5", 32, (3, 4, 5)))
    network, about = pretrained.detector("yolo-fastest-1.1-xl")
    assert about.labels == COCO and about.image_size == (320, 320)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if isinstance(preset, Application)])
def test_classifiers_of_keras_applications(name, monkeypatch):
    """Where Keras has their weights; without a network, its error becomes ours."""
    tiny = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3), alpha=0.35)
    builder, preprocessing = PRESETS[name].builder, PRESETS[name].preprocessing
    assert callable(getattr(keras.applications, builder)) and preprocessing in PREPROCESSING

    def fails(**options):
        assert options == {"include_top": False, "input_shape": (None, None, 3)}
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, builder, fails)
    with pytest.raises(UserError, match=rf"Keras cannot download {name} \(URL fetch failure\); fetch the file by hand"):
        kt.encoder(name)
    monkeypatch.setattr(keras.applications, builder, lambda **_: tiny)
    assert set(kt.encoder(name).output) == {"c1", "c2", "c3", "c4", "c5"}


def test_a_classifier_is_not_a_detector():
    with pytest.raises(UserError, match="resnet-50 was trained on ImageNet classes, 224 px and is not a detector"):
        trained.detector("resnet-50")


@pytest.mark.slow
def test_an_encoder_by_name_is_that_of_the_detector(mirror, shared_weights):
    mirror.setenv("KERASTRANSFER_MIRROR", str(shared_weights))
    encoder = kt.encoder("yolov3-tiny")
    assert encoder.name == "encoder" and set(encoder.output) == {"c1", "c2", "c3", "c4", "c5"}
    photo = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    expected = pretrained.detector("yolov3-tiny")[0].get_layer("encoder")(photo)["c5"]
    np.testing.assert_array_equal(encoder(photo)["c5"], expected)

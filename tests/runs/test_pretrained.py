"""Published weights by name, from the files that their owners published."""

import sys

import keras
import numpy as np
import pytest

import kerastransfer as kt
from kerastransfer.encoders.preprocessing import PREPROCESSING
from kerastransfer.errors import UserError
from kerastransfer.export.keras_predictor import KerasPredictor
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if isinstance(preset, Application)])
def test_classifiers_of_keras_applications(name, monkeypatch):
    """Where Keras has their weights; without a network, its error becomes ours."""
    tiny = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3), alpha=0.35)
    builder, preprocessing = PRESETS[name].builder, PRESETS[name].preprocessing
    assert callable(getattr(keras.applications, builder)) and preprocessing in PREPROCESSING

    def fails(**options):
        assert options == {"include_top": False, "input_shape": (None, None, 3), "weights": "imagenet"}
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, builder, fails)
    with pytest.raises(UserError, match=rf"Keras cannot download {name} \(URL fetch failure\); fetch the file by hand"):
        kt.encoder(name)
    monkeypatch.setattr(keras.applications, builder, lambda **_: tiny)
    assert set(kt.encoder(name).output) == {"c1", "c2", "c3", "c4", "c5"}


@pytest.mark.slow
def test_a_download_that_fails_is_told_in_one_line(monkeypatch, capsys):
    """Keras announces it, and warns that the encoder takes images of any size."""

    def fails(*_, **__):
        sys.stdout.write("Downloading data from https://somewhere\n")
        sys.stdout.write("1/2 of a file")
        raise Exception("URL fetch failure")

    monkeypatch.setattr(sys.modules[keras.applications.MobileNetV2.__module__].file_utils, "get_file", fails)
    with pytest.raises(UserError, match="cannot download mobilenet-v2"):
        pretrained.encoder("mobilenet-v2")
    assert capsys.readouterr().out == "1/2 of a file"


def test_a_classifier_is_not_a_detector():
    with pytest.raises(UserError, match=r"resnet-50 is a classifier \(ImageNet classes, 224 px\), not a detector"):
        trained.detector("resnet-50")


@pytest.mark.slow
def test_an_encoder_by_name_is_that_of_the_detector(mirror, shared_weights):
    mirror.setenv("KERASTRANSFER_MIRROR", str(shared_weights))
    encoder = kt.encoder("yolov3-tiny")
    assert encoder.name == "encoder" and set(encoder.output) == {"c1", "c2", "c3", "c4", "c5"}
    photo = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    expected = pretrained.detector("yolov3-tiny")[0].get_layer("encoder")(photo)["c5"]
    np.testing.assert_array_equal(encoder(photo)["c5"], expected)


@pytest.mark.slow
def test_a_backbone_of_keras_hub(tmp_path):
    """From a folder that holds a preset, as a download does; its image converter's scale and offset are inside."""
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    converter = keras_hub.layers.ResNetImageConverter(
        height=64, width=64, scale=[0.01, 0.02, 0.03], offset=[-1.0, 0.0, 1.0]
    )
    backbone.save_to_preset(str(tmp_path))
    converter.save_to_preset(str(tmp_path))
    found = kt.encoder(f"hub:{tmp_path}")
    assert set(found.output) == {"c1", "c2", "c3", "c4", "c5"}
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    scaled = pixels * np.float32([0.01, 0.02, 0.03]) + np.float32([-1, 0, 1])
    np.testing.assert_allclose(found(pixels)["c5"], backbone(scaled), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_unknown_backbone_of_keras_hub():
    """The nearest are named; what keras-hub says of others is told as a whole."""
    near = r"no image backbone 'resnet_18_imagenett'; .*\(nearest: resnet_18_imagenet, .*\), or give a folder"
    with pytest.raises(UserError, match=near):
        kt.encoder("hub:resnet_18_imagenett")
    with pytest.raises(UserError, match=r"cannot load an image backbone './nowhere' \(.*'./nowhere'\); check its name"):
        kt.encoder("hub:./nowhere")


def test_without_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(UserError, match=r"needs keras-hub; install it with pip install 'kerastransfer\[hub\]'"):
        kt.encoder("hub:resnet_18_imagenet")

"""`convert`: nets of Darknet become models."""

import json

import numpy as np
import pytest
from console import code_of

# Keras 3.15 saving a model under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def darknet_files(tmp_path_factory):
    """(cfg, weights, the net) of a narrow yolov3-tiny with two classes."""
    from kerastransfer.export import darknet_weights
    from kerastransfer.models.darknet_nets import yolov3_cfg
    from kerastransfer.models.yolov3 import yolov3

    folder = tmp_path_factory.mktemp("darknet")
    cfg, weights = folder / "tiny.cfg", folder / "tiny.weights"
    cfg.write_text(yolov3_cfg("yolov3-tiny", num_classes=2, width=0.05, image_size=(64, 96)))
    net = yolov3(cfg.read_text())
    darknet_weights.write(net, weights)
    return cfg, weights, net


@pytest.mark.slow
def test_a_converted_darknet_net_is_read_and_predicts(darknet_files, photos, tmp_path, capsys):
    from kerastransfer.runs import trained

    cfg, weights, net = darknet_files
    model, names = tmp_path / "tiny.keras", tmp_path / "tiny.names"
    names.write_text("disc\nstar\n\n")
    assert code_of(["convert", cfg, weights, model, "--names", names]) == 0
    assert "13 layers of" in capsys.readouterr().out
    network, about = trained.stored(model)
    codec = about.decoder
    assert (about.task, about.labels, about.image_size) == ("detection", ("disc", "star"), (64, 96))
    assert codec.levels == (("p4", 16, (0, 1, 2)), ("p5", 32, (3, 4, 5))) and codec.anchors[5] == (344, 319)
    assert about.resize == "letterbox"
    for one, other in zip(net.weights, network.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert code_of(["predict", model, photos, "--output", tmp_path / "seen", "--score", "0"]) == 0
    seen = json.loads((tmp_path / "seen" / "predictions.json").read_text())
    assert seen["images"] and {one["label"] for one in seen["images"][0]["predictions"]} <= {"disc", "star"}


@pytest.mark.slow
def test_published_weights_with_other_anchors_are_noticed(shared_weights, tmp_path, capsys):
    folder = shared_weights / "yolov3-tiny"
    cfg = tmp_path / "tiny.cfg"
    cfg.write_text((folder / "yolov3-tiny.cfg").read_text())
    assert code_of(["convert", cfg, folder / "yolov3-tiny.weights", tmp_path / "tiny.keras"]) == 0
    assert "trained with mask=1,2,3 for the map of stride 16, but the cfg has mask=0,1,2" in capsys.readouterr().err
    cfg.write_text(cfg.read_text().replace("mask = 0,1,2", "mask = 1,2,3"))
    assert code_of(["convert", cfg, folder / "yolov3-tiny.weights", tmp_path / "other.keras"]) == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_published_net_of_depthwise_convolutions_finds_objects(shared_weights, shared_data, tmp_path):
    """Yolo-Fastest, with dropout and depthwise convolutions, on a COCO photo; its file for devices says the same."""
    from kerastransfer.export import tflite
    from kerastransfer.runs import trained
    from kerastransfer.tasks import metadata

    folder, model = shared_weights / "yolo-fastest-1.1-xl", tmp_path / "fast.keras"
    files = [folder / f"yolo-fastest-1.1-xl.{kind}" for kind in ("cfg", "weights")]
    names = shared_weights / "yolov3-tiny" / "coco.names"
    assert code_of(["convert", *files, model, "--names", names]) == 0
    exportable, about = trained.exported(model)
    device = tmp_path / "fast.tflite"
    device.write_bytes(metadata.attach(tflite.convert(exportable, about.image_size), about))
    photo = sorted((shared_data / "coco" / "val2017").glob("*.jpg"))[0]
    found, other = (trained.open_predictor(path).predict(photo) for path in (model, device))
    assert len(found.scores) and found.scores.max() > 0.5
    np.testing.assert_allclose(found.scores, other.scores, atol=1e-4)


@pytest.mark.slow
def test_the_rest_of_a_converted_trunk_is_initialised(darknet_files, tmp_path, capsys):
    cfg, weights, _ = darknet_files
    model = tmp_path / "trunk.keras"
    assert code_of(["convert", cfg, weights, model, "--layers", 13]) == 0
    assert "so initialised: conv_13, conv_14, conv_15, conv_18, conv_21, conv_22" in capsys.readouterr().out
    assert json.loads(model.with_suffix(".json").read_text())["labels"] == ["class0", "class1"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("{cfg}", "{weights}", "{folder}/net.h5"), "give one that ends in .keras"),
        (("{cfg}", "{cfg}", "{folder}/net.keras"), "tiny.cfg: "),
        (("{weights}", "{weights}", "{folder}/net.keras"), "cannot be read as text"),
        (("{cfg}", "{folder}/no.weights", "{folder}/net.keras"), "give the path of a .weights file"),
        (("{cfg}", "{weights}", "{folder}/net.keras", "--names", "{cfg}"), "names for the 2 classes"),
        (("{cfg}", "{weights}", "{folder}/there.keras"), "there"),
        (("/dev/zero", "{weights}", "{folder}/net.keras"), "/dev/zero: is not a file"),
        (("{cfg}", "/dev/zero", "{folder}/net.keras"), "/dev/zero: is not a file"),
    ],
)
def test_what_cannot_be_converted(change, told, darknet_files, tmp_path, capsys):
    cfg, weights, _ = darknet_files
    (tmp_path / "there.json").write_text("{}")
    argv = [one.format(cfg=cfg, weights=weights, folder=tmp_path) for one in change]
    assert code_of(["convert", *argv]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.json"]


@pytest.mark.slow
def test_a_converted_yolov1_predicts(photos, tmp_path, monkeypatch):
    from kerastransfer.encoders import yolov1 as encoders
    from kerastransfer.export import darknet_weights
    from kerastransfer.models.darknet_cfg import parse
    from kerastransfer.models.yolov1_cfg import yolov1_of_cfg
    from kerastransfer.runs import trained

    monkeypatch.setitem(encoders.TABLES, "narrow", (((4, 3, 2),),) * 5)
    convolution = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    text = (
        "[net]\nwidth=64\nheight=64\n"
        + 5 * convolution
        + "[local]\nsize=3\npad=1\nfilters=2\nactivation=leaky\n[dropout]\n"
        "[connected]\noutput=28\nactivation=linear\n[detection]\nclasses=2\ncoords=4\nside=2\nnum=1\nsqrt=1\n"
    )
    (tmp_path / "old.cfg").write_text(text)
    net, codec = yolov1_of_cfg(parse(text))
    darknet_weights.write(net, tmp_path / "old.weights", header=darknet_weights.Header(0, 1))
    model = tmp_path / "old.keras"
    assert code_of(["convert", tmp_path / "old.cfg", tmp_path / "old.weights", model]) == 0
    network, about = trained.stored(model)
    assert about.decoder == codec and about.labels == ("class0", "class1") and about.resize == "stretch"
    for one, other in zip(net.weights, network.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert code_of(["predict", model, photos, "--output", tmp_path / "seen"]) == 0

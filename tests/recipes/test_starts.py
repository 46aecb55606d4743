"""Detectors that start from others: fine-tuning, masks with the detector from the start, and masks for a detector that
knows more classes than the data. All on small drawn scenes."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from kerastransfer import detectors
from kerastransfer.data.toy import toy
from kerastransfer.detectors.detector import Detector
from kerastransfer.errors import UserError
from kerastransfer.phases.detector import DetectorConfig, begun, build
from kerastransfer.recipes import detector, yolo_mask, yolo_unet
from kerastransfer.runs import command_line, trained
from kerastransfer.tasks.about import About

NET = ["--model", "yolov3-tiny", "--net.loss", "ciou", "--image-size", "64", "--batch-size", "8", "--data", "toy:20"]
NET += ["--no-export", "--quiet", "--detector-epochs", "1"]
MASKS = ["--mask-epochs", "1", "--mask-filters", "8", "--mask-convs", "1", "--detections", "10"]


def run(page, output, *flags):
    command_line.run(page.main, page.Config, [*NET, "--output", str(output), *map(str, flags)])
    return output


def stopped(capsys, page, *flags):
    """What the recipe says when it ends with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        command_line.run(page.main, page.Config, [*NET, *map(str, flags)])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A trained detector, and the same one said to know other classes, two of them of the toy's names."""
    folder = tmp_path_factory.mktemp("known")
    path = run(detector, folder / "run", "--net.width", "0.25") / "models/yolov3.keras"
    network, about = trained.stored(path)
    other = folder / "other.keras"
    trained.write(network, other, dataclasses.replace(about, labels=("cow", about.labels[1], "sheep", about.labels[0])))
    return path, other, about.labels


@pytest.mark.slow
def test_a_detector_is_fine_tuned(known, tmp_path):
    _, other, labels = known
    output = run(detector, tmp_path / "run", "--start", other, "--freeze-stages", "c2", "--start-factor", "0.1")
    report = json.loads((output / "transfer_report.json").read_text())["yolov3"]
    assert report["source"] == str(other)
    assert report["fresh_classes"] == list(labels[2:]) and set(report["fresh"]) == {
        f"{layer}/{kind}" for layer in ("conv_15", "conv_22") for kind in ("kernel", "bias")
    }
    assert {"conv_0/kernel", "conv_0_bn/moving_mean"} <= set(report["frozen"]) <= set(report["copied"])
    assert not set(report["frozen"]) & set(report["moved"]) and "conv_13/kernel" in report["moved"]
    before, after = (trained.stored(path)[0].get_layer("encoder") for path in (other, output / "models/yolov3.keras"))
    for name in report["frozen"]:
        layer, weight = name.split("/")
        old, new = (
            next(np.asarray(v) for v in part.get_layer(layer).weights if v.name == weight) for part in (before, after)
        )
        np.testing.assert_array_equal(old, new)
    assert trained.stored(output / "models/yolov3.keras")[1].labels == labels
    # Keras stores what was frozen; who starts from the file, or trains its encoder, trains all of it.
    for part in (trained.detector(output / "models/yolov3.keras")[0], trained.encoder(output / "models/encoder.keras")):
        kernels = [value for value in part.weights if value.name == "kernel"]
        assert kernels and all(value.trainable for value in kernels)


@pytest.mark.slow
@pytest.mark.parametrize("net", ["faster_rcnn", "mask_rcnn"])
def test_two_stages_report_what_is_new(net, tmp_path):
    """A file of each is one to start from; of its last layers, those that say something of each class are new."""
    family = detectors.family(net)
    purpose = detectors.detector.Purpose(("cow", "sheep"), 64, None)
    small = {"encoder": "resnet18", "channels": 8, "hidden": 8}
    first = family.build(family.Settings(**small), net, purpose)
    network, path = first.build(), tmp_path / "first.keras"
    trained.write(network, path, About(first.task, purpose.classes, (64, 64), "stretch", first.codec))
    config = DetectorConfig(data="toy:20", image_size=64, model=net, start=str(path))
    config.net = family.Settings()
    _, report = begun(build(config, toy(0, 20, 64)), config)
    found = report()
    new = {"box_classes", "box_boxes"} | ({"logits"} if net == "mask_rcnn" else set())
    assert set(found["fresh"]) == {f"{layer}/{kind}" for layer in new for kind in ("kernel", "bias")}
    assert len(found["fresh_classes"]) == 4 and "dense1/kernel" in found["copied"]


@pytest.mark.slow
def test_masks_are_trained_with_the_detector_from_the_start(known, tmp_path):
    """Both models are kept and scored, and the detector in them is the same one."""
    path, *_ = known
    output = run(yolo_mask, tmp_path / "run", *MASKS, "--together", "--start", path, "--fine", "c2")
    results = json.loads((output / "metrics.json").read_text())["results"]
    assert results.keys() == {"yolov3", "yolo_mask"} and "mask_AP" in results["yolo_mask"]
    whole, alone = (trained.stored(output / f"models/{name}.keras")[0] for name in ("yolo_mask", "yolov3"))
    for part in ("encoder", "decoder", "head"):
        for ours, theirs in zip(whole.get_layer(part).get_weights(), alone.get_layer(part).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    report = json.loads((output / "transfer_report.json").read_text())["yolo_mask"]
    assert report["fresh_classes"] == [] and report["fresh"] == [] and report["frozen"] == []
    assert {"conv_0/kernel", "conv_22/kernel"} <= set(report["moved"])
    terms = {"coordinates", "objectness", "background", "classes", "mask"}
    header = (output / "history.csv").read_text().splitlines()[0].split(",")
    assert terms <= set(header)


@pytest.mark.slow
def test_a_branch_for_all_classes_serves_a_detector_that_knows_others(known, tmp_path, capsys):
    """The toy's discs are learnt as boxes of a detector that calls them so, and scored by name."""
    path, *_ = known
    network, about = trained.stored(path)
    more = tmp_path / "more.keras"
    codec = dataclasses.replace(about.decoder, num_classes=5)
    from kerastransfer.models.new_classes import with_classes

    wider = with_classes(network, about.decoder, codec, about.labels, ("cow", *about.labels))
    trained.write(wider, more, About("detection", ("cow", *about.labels), (64, 64), decoder=codec))
    assert "add --class-agnostic" in stopped(capsys, yolo_mask, *MASKS, "--detector", more, "--output", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    output = run(yolo_mask, tmp_path / "run", *MASKS, "--detector", more, "--class-agnostic")
    found, described = trained.stored(output / "models/yolo_mask.keras")
    assert described.labels == ("cow", *about.labels) and found.output["masks"].shape[-1] == 1
    assert {"AP50", "mask_AP50"} <= json.loads((output / "metrics.json").read_text())["results"]["yolo_mask"].keys()


@pytest.mark.parametrize(
    ("page", "flags", "words"),
    [
        (detector, ["--start", "yolov3-tinny"], "unknown preset yolov3-tinny; choose yolov3-tiny"),
        (detector, ["--start", "missing/yolov3.keras"], "--start missing/yolov3.keras: no such file"),
        (detector, ["--freeze-stages", "c3"], "--freeze-stages c3 needs --start; random weights cannot be frozen"),
        (detector, ["--start", "yolov3-tiny", "--start-factor", "0"], "--start-factor is 0"),
        (yolo_mask, ["--detector", "missing.keras"], "--detector missing.keras: no such file"),
        (yolo_mask, ["--detector", "yolov3", "--together"], "but --together trains it; leave one of them out"),
        (yolo_mask, ["--detector", "yolov3", "--start", "yolov3"], "but --start trains it; leave one of them out"),
        (detector, ["--start", "hub:resnet_18_imagenet"], "hub:resnet_18_imagenet is a backbone, not a detector"),
        (yolo_unet, ["--encoder", "yolov3-tiny", "--start", "yolov3-tiny"], "leave one of them out"),
        (yolo_mask, ["--together", "--end-to-end-epochs", "3"], "leave it out with --together"),
    ],
)
def test_flags_that_do_not_go_together(page, flags, words, tmp_path, capsys):
    assert words in stopped(capsys, page, *flags, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_classifier_is_no_detector_to_start_from(tmp_path, capsys):
    words = stopped(capsys, detector, "--start", "resnet-50", "--output", tmp_path / "run")
    assert "resnet-50 is a classifier (ImageNet classes, 224 px), not a detector; give it as --encoder" in words


@pytest.mark.slow
def test_baselines_start_where_they_say(known, tmp_path):
    """A frozen encoder of random weights, and encoders trained along, from the given weights and from random ones."""
    path, *_ = known
    kinds = ["--control-kinds", "random", "through", "scratch"]
    flags = ["--encoder", path, "--decoder-epochs", "1", "--controls", *kinds]
    output = run(yolo_unet, tmp_path / "run", *flags)
    report = json.loads((output / "transfer_report.json").read_text())
    begun = report["yolo_unet"]["checksum_before"]
    for name, source, moves in (
        ("yolo_unet", str(path), False),
        ("yolo_unet_random", "random weights", False),
        ("yolo_unet_through", str(path), True),
        ("yolo_unet_scratch", "random weights", True),
    ):
        assert report[name]["source"] == source and bool(report[name]["moved"]) == moves, name
        assert (report[name]["checksum_before"] == begun) == (source == str(path)), name
    assert json.loads((output / "metrics.json").read_text())["results"].keys() == report.keys()


def test_a_stage_that_is_not_there():
    image = keras.Input((None, None, 3))
    encoder = keras.Model(image, {"c1": keras.layers.Conv2D(2, 3, 2)(image)}, name="encoder")
    built = Detector(lambda: keras.Model(image, encoder(image)), None, None, {}, 2, ("encoder",), fresh=())
    config = DetectorConfig(model="yolov3-tiny", start="yolov3", freeze_stages="c3")
    with pytest.raises(UserError, match="--freeze-stages c3: the encoder of yolov3 has c1; choose one"):
        begun(built, config)


def test_a_family_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(trained, "start", lambda source: source)
    monkeypatch.setattr(detectors.DETECTORS["yolov3"], "build", lambda *_: Detector(None, None, None, {}, 32))
    config = DetectorConfig(model="yolov3-tiny", start="yolov3")
    with pytest.raises(UserError, match="--model yolov3-tiny cannot start from another detector"):
        build(config, toy(count=2, image_size=32))


def test_stages_of_a_random_encoder_cannot_be_frozen():
    config = DetectorConfig(model="retinanet", image_size=64, freeze_stages="c2")
    config.net.random = True
    with pytest.raises(UserError, match="--freeze-stages c2 needs a trained encoder; give --start or another"):
        build(config, toy(count=2, image_size=32))

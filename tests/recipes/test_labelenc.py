"""LabelEnc from data to report, on small drawn scenes, and files of step 1 that do not fit."""

import collections
import json

import keras
import numpy as np
import pytest

from kerastransfer import files
from kerastransfer.codecs.retinanet import retinanet_codec
from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.export import loading
from kerastransfer.models import labelenc as models
from kerastransfer.models.faster_rcnn import faster_rcnn, faster_rcnn_codec
from kerastransfer.models.parts import freeze
from kerastransfer.models.retinanet import LEVELS, retinanet
from kerastransfer.models.yolov1 import yolov1
from kerastransfer.phases import labelenc_sources as sources
from kerastransfer.recipes import labelenc, labelenc_step1, labelenc_step2
from kerastransfer.runs import command_line, settings, trained
from kerastransfer.runs.outcome import Outcome, Result
from kerastransfer.tasks.about import About
from kerastransfer.training import transfer

NET = ["--model", "yolov3-tiny", "--net.width", "0.125", "--image-size", "64", "--batch-size", "8", "--data", "toy:20"]
NET += ["--no-export", "--quiet", "--detector-epochs", "1", "--step1-epochs", "1", "--mosaic", "0"]


def run(page, output, *flags):
    command_line.run(page.main, page.Config, [*NET, "--output", str(output), *map(str, flags)])
    return output


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A run of both steps with baselines."""
    methods = ["--methods", "1x", "2x", "labelenc", "reconstruction", "initialisation", "distillation"]
    return run(labelenc, tmp_path_factory.mktemp("labelenc") / "run", *methods)


@pytest.mark.slow
def test_methods_are_scored_and_reported(both):
    results = json.loads((both / "metrics.json").read_text())["results"]
    methods = {"labelenc", "reconstruction", "initialisation", "distillation", "label_encoder_detector"}
    assert set(results) == {"1x", "2x"} | methods
    page = (both / "report.html").read_text()
    assert "What came of it" in page and "labelenc minus 1x" in page and "several (--seeds 0 1 2)" in page
    assert (both / "figures/features.png").exists()
    history = (both / "history.csv").read_text()
    assert "codes_coordinates" in history and "distance" in history
    epochs = collections.Counter(row.partition(",")[0] for row in history.splitlines()[1:])
    assert epochs["1x"] == 1 and epochs["2x"] == 2
    # The reconstructor trains without images, so no detector of its own is kept.
    assert (both / "models/reconstructor.keras").exists() and not (
        both / "models/reconstructor_detector.keras"
    ).exists()


@pytest.mark.slow
def test_what_step_2_took_from_step_1(both):
    report = json.loads((both / "transfer_report.json").read_text())["labelenc"]
    assert report["source"] == str(both / "models/label_encoder.keras")
    assert report["label_network"]["moved"] == [] and len(report["label_network"]["frozen"]) > 20
    assert len(report["head"]["copied"]) >= 4 and report["head"]["fresh"] == [] == report["decoder"]["fresh"]
    assert report["decoder"]["copied"]
    others = json.loads((both / "transfer_report.json").read_text())
    assert others["reconstruction"]["source"] == str(both / "models/reconstructor.keras")
    assert others["initialisation"]["head"]["copied"] and "label_network" not in others["initialisation"]


@pytest.mark.slow
def test_nothing_of_the_label_encoder_is_left(both):
    """The exported file has the operators and the size of that of a detector trained without."""
    from kerastransfer.export import graph, tflite

    models = [trained.exported(both / f"models/{name}.keras")[0] for name in ("1x", "labelenc")]
    assert transfer.same_architecture(*models)
    contents = [tflite.convert(model, (64, 64)) for model in models]
    assert graph.operators(contents[0]) == graph.operators(contents[1])
    assert abs(len(contents[0]) - len(contents[1])) < 64


@pytest.mark.slow
def test_a_label_encoder_of_another_run_is_taken(both, tmp_path):
    """It serves without the initial weights too."""
    source = both / "models/label_encoder.keras"
    output = run(labelenc_step2, tmp_path / "run", "--labelenc", source, "--no-initialise")
    assert set(json.loads((output / "metrics.json").read_text())["results"]) == {"detector"}
    report = json.loads((output / "transfer_report.json").read_text())["detector"]
    assert report["label_network"]["moved"] == [] and "head" not in report


@pytest.mark.slow
def test_step_1_alone(tmp_path):
    output = run(labelenc_step1, tmp_path / "run", "--label-map", "masks")
    assert set(json.loads((output / "metrics.json").read_text())["results"]) == {"labelenc_detector"}
    model = keras.saving.load_model(output / "models/labelenc.keras")
    assert {"label_network", "head"} <= {layer.name for layer in model.layers}
    made_for = json.loads((output / "models/labelenc.json").read_text())
    assert made_for["model"] == "yolov3-tiny" and made_for["net"]["width"] == 0.125 and made_for["labels"]


@pytest.mark.slow
def test_a_teacher_of_another_run(both, tmp_path):
    """Distillation needs no other method then, and may begin with the teacher's head and decoder."""
    teacher = both / "models/1x.keras"
    flags = ["--methods", "distillation", "--teacher", teacher, "--initialise-from-teacher"]
    output = run(labelenc, tmp_path / "run", *flags)
    assert set(json.loads((output / "metrics.json").read_text())["results"]) == {"distillation"}
    report = json.loads((output / "transfer_report.json").read_text())["distillation"]
    assert report["source"] == str(teacher) and report["head"]["copied"] and report["decoder"]["copied"]
    assert report["head"]["fresh"] == [] == report["decoder"]["fresh"]


def narrow(channels=8, towers=1, filters=(4, 5, 6, 7, 8)):
    encoder = yolov1_encoder(tuple(((one, 3, 2),) for one in filters))
    return retinanet(encoder, retinanet_codec(2, LEVELS), channels=channels, towers=towers)


def kept(detector, path, labels=("a", "b")):
    trained.write(detector, path, About("detection", labels, (64, 64), decoder=retinanet_codec(len(labels), LEVELS)))
    return path


def require_begun_with(detector, report, head, decoder):
    """The detector has this head, and this decoder but for the layers that read its encoder, of another width."""
    assert report["head"]["fresh"] == []
    assert {name.split("/")[0] for name in report["decoder"]["fresh"]} == {"lateral_3", "lateral_4", "lateral_5", "p6"}
    assert {name.split("/")[0] for name in report["decoder"]["copied"]} == {"p3", "p4", "p5", "p7"}
    for part, other in (("head", head), ("decoder", decoder)):
        ours, theirs = transfer.weights(detector.get_layer(part)), transfer.weights(other)
        for name in report[part]["copied"]:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_teacher_with_a_larger_encoder(tmp_path):
    """Its head is taken as it is, and so is its decoder, but for the layers that read the encoder."""
    path = kept(narrow(filters=(8, 10, 12, 14, 16)), tmp_path / "large.keras")
    detector = narrow()
    teacher = sources.teacher(path, detector, labelenc.Config(), ("a", "b"), initialise=True)
    assert models.distiller(detector, teacher).output.keys() >= {"feature_p3", "code_p3", "p3_classes"}
    report = sources.copied(path, detector, models.heads(teacher), teacher.get_layer("decoder"))
    require_begun_with(detector, report, teacher.get_layer("head"), teacher.get_layer("decoder"))


@pytest.mark.slow
def test_a_teacher_that_does_not_fit(tmp_path):
    config = labelenc.Config()

    def taught_by(detector, teacher=None, classes=("a", "b"), **options):
        path = tmp_path / "teacher.keras"
        if teacher is not None:
            kept(teacher, path)
        return sources.teacher(path, detector, config, classes, **options)

    with pytest.raises(UserError, match=r"the head of --teacher .*teacher\.keras reads p3 of 12 channels, .* but the"):
        taught_by(narrow(), narrow(12))
    taught_by(narrow(), narrow(towers=2), ("other", "classes"))
    with pytest.raises(UserError, match=r"teacher\.keras has another head than the detector; give its --model and"):
        taught_by(narrow(), initialise=True)
    with pytest.raises(UserError, match="knows a, b, but the data has other, classes; leave out --initialise-from"):
        taught_by(narrow(towers=2), classes=("other", "classes"), initialise=True)


def test_a_teacher_of_other_strides_or_none():
    grids = []
    for last in ((4, 3, 2), (4, 3)):
        encoder = yolov1_encoder((*(((4, 3, 2),),) * 4, (last,)))
        grids.append(yolov1(encoder, YoloV1Codec(2, 1)))
    with pytest.raises(
        UserError, match=r"the maps of the teacher have the strides 16 \(c5\), the detector's 32 \(c5\)"
    ):
        models.require_teacher(*grids)
    with pytest.raises(UserError, match="the teacher is no detector with an encoder, a decoder and a head"):
        models.require_teacher(grids[0], grids[0].get_layer("encoder"))


def two_stages():
    encoder = yolov1_encoder(tuple(((filters, 3, 2),) for filters in (4, 5, 6, 7, 8)))
    return faster_rcnn(encoder, faster_rcnn_codec(2), channels=8, hidden=6, proposals=5)


@pytest.mark.parametrize(("build", "names"), [(narrow, {"head"}), (two_stages, {"head", "branch"})])
def test_a_file_of_step_1_is_opened_as_it_was_written(build, names, tmp_path):
    detector = build()
    network = models.label_network(detector, 2)
    path = tmp_path / "labelenc.keras"
    loading.write_keras(models.with_heads(network, detector), path)
    opened, heads = sources.opened(path, build(), ("a", "b"))
    assert heads.keys() == names
    for found, kept in ((opened, network), *((heads[name], detector.get_layer(name)) for name in names)):
        for value, expected in zip(found.get_weights(), kept.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)


def test_a_label_encoder_serves_another_encoder(tmp_path):
    """Of another width: its codes have the channels of the pyramid, whatever the encoder that it was trained beside."""
    first = narrow()
    path = tmp_path / "labelenc.keras"
    loading.write_keras(models.with_heads(models.label_network(first, 2), first), path)
    detector = narrow(filters=(5, 7, 9, 10, 12))
    network, heads = sources.opened(path, detector, ("a", "b"))
    report = sources.copied(path, detector, heads, network.get_layer("label_decoder"))
    require_begun_with(detector, report, first.get_layer("head"), network.get_layer("label_decoder"))
    freeze(network)
    graph = models.trainer(detector, network, reconstruct=False)
    boxes, labels = np.float32([[[0.1, 0.2, 0.6, 0.8]]]), np.int32([[1]])
    found = graph({"image": np.ones((1, 64, 64, 3), "float32"), "boxes": boxes, "labels": labels})
    for level, _ in LEVELS:
        assert found[f"feature_{level}"].shape == found[f"code_{level}"].shape
        assert np.isfinite(np.asarray(found[f"code_{level}"])).all()


def test_a_file_of_step_1_that_does_not_fit(tmp_path):
    detector = narrow()
    path = tmp_path / "labelenc.keras"
    loading.write_keras(models.with_heads(models.label_network(detector, 2), detector), path)
    with pytest.raises(UserError, match="was trained for 2 classes, but the data has 3; train step 1 on this data"):
        sources.opened(path, detector, ("a", "b", "c"))
    with pytest.raises(UserError, match=r"reads p3 of 8 channels, .* but the detector's reads p3 of 12 channels"):
        sources.opened(path, narrow(12), ("a", "b"))
    with pytest.raises(UserError, match="has the heads head, but the detector has head, branch; train step 1 with the"):
        sources.opened(path, two_stages(), ("a", "b"))
    loading.write_keras(detector.get_layer("encoder"), tmp_path / "other.keras")
    with pytest.raises(UserError, match=r"holds no label encoder; give RUN/models/labelenc\.keras"):
        sources.opened(tmp_path / "other.keras", detector, ("a", "b"))


@pytest.mark.slow
def test_a_file_of_step_1_for_other_classes(tmp_path):
    """Their number is not enough. Files of older versions do not say which they are for."""
    detector = narrow()
    path = tmp_path / "labelenc.keras"
    loading.write_keras(models.with_heads(models.label_network(detector, 2), detector), path)
    sources.opened(path, detector, ("x", "y"))
    files.write_json(path.with_suffix(".json"), sources.made_for(labelenc.Config(), ("a", "b")))
    sources.opened(path, detector, ("a", "b"))
    for classes in (("x", "y"), ("b", "a")):
        with pytest.raises(UserError, match=r"keras was trained for the classes a, b, but the data has .*; train step"):
            sources.opened(path, detector, classes)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--model", "retinanet", "--net.towers", "1", "--net.encoder", "resnet18"],
            r", by --net\.towers 1 \(here 2\); give the same --model",
        ),
        (["--net.towers", "2", "--model", "fcos"], r", by --model fcos \(here retinanet\); give the same"),
        (None, r"than this detector's; give the same --model and settings of the head, such as --net\.towers"),
    ],
)
def test_a_file_of_step_1_with_another_head(flags, told, tmp_path):
    path, detector = tmp_path / "labelenc.keras", narrow(towers=2)
    if flags:
        step1 = settings.parse(labelenc.Config, flags)
        files.write_json(path.with_suffix(".json"), sources.made_for(step1, ("a", "b")))
    config = settings.parse(labelenc.Config, ["--model", "retinanet", "--net.towers", "2"])
    sources.require_heads(path, detector, models.heads(narrow(towers=2)), config)
    with pytest.raises(UserError, match=rf"labelenc\.keras was trained with another head.*{told}"):
        sources.require_heads(path, detector, models.heads(narrow(towers=1)), config)


BAD = {
    "no such file": (labelenc_step2, ["--labelenc", "nowhere.keras"], "--labelenc nowhere.keras: no such file"),
    "nothing left": (labelenc_step2, ["--no-supervise", "--no-initialise"], "leave nothing of the label encoder"),
    "no teacher": (labelenc, ["--methods", "distillation"], "--methods distillation needs a teacher; add 1x"),
    "no teacher's file": (
        labelenc,
        ["--methods", "distillation", "--teacher", "nowhere.keras"],
        "--teacher nowhere.keras: no such file",
    ),
    "an idle teacher": (labelenc, ["--teacher", "yolov3-tiny"], "--teacher is for distillation only; add it to"),
    "no distillation": (labelenc, ["--initialise-from-teacher"], "--initialise-from-teacher is for distillation only"),
    "no distance": (labelenc, ["--distance-weight", "-1"], "--distance-weight is -1.0; it must be at least 0"),
    "negative epochs": (labelenc_step1, ["--step1-epochs", "-1"], "--step1-epochs is -1; it must be at least 0"),
}


def test_all_methods_are_compared_with_detectors_without():
    """The detector of step 1 alone among them."""
    names = ["labelenc", "distillation", "label_encoder_detector"]
    result = Outcome(None, None, None, models={name: Result({"AP": 0.5}, "AP50") for name in ("1x", "2x", *names)})
    labelenc.compare(result)
    assert result.pairs == [(name, other) for name in names for other in ("1x", "2x")]


def test_the_weight_of_the_distance_follows_the_detector():
    chosen = [labelenc.Config(model=net).distance for net in ("retinanet", "mask_rcnn", "yolov3-small", "small")]
    assert chosen == [1, 1, 50, 50] and labelenc.Config(model="small", distance_weight=3).distance == 3


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, capsys):
    page, flags, words = BAD[case]
    with pytest.raises(SystemExit) as ended:
        run(page, tmp_path / "run", *flags)
    assert ended.value.code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([(0.52, 0.50)], "+2.0 points of AP, of one seed"),
        ([(0.52, 0.50), (0.53, 0.505), (0.515, 0.496)], "from +1.3 to +2.9: labelenc is ahead."),
        ([(0.50, 0.52), (0.505, 0.53), (0.496, 0.515)], "from -2.9 to -1.3: labelenc is behind."),
        ([(0.52, 0.50), (0.49, 0.51)], "from -25.4 to +25.4: labelenc is neither ahead nor behind"),
    ],
)
def test_the_sentence_says_what_the_seeds_tell(scores, told):
    def outcome(a, b):
        models = {name: Result({"AP": value}, "AP50") for name, value in (("labelenc", a), ("1x", b))}
        return Outcome(None, None, None, models=models, pairs=[("labelenc", "1x")])

    section = labelenc.came_of_it([outcome(*pair) for pair in scores])
    assert len(section.text) == 1 and told in section.text[0]

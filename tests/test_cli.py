"""The console script: what it prints and writes, and what it exits with."""

import functools
import importlib
import json

import numpy as np
import PIL.Image
import pytest
from console import BARE, code_of, in_a_process

import kerastransfer
from kerastransfer.data.toy import CLASSES
from kerastransfer.recipes import pages
from kerastransfer.runs import command_line, early

# Keras 3.15 saving a model under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

LABELS = ("background", *CLASSES)


@pytest.fixture(scope="module")
def trained_models(tmp_path_factory):
    """{task: (NAME.keras, NAME.tflite)} of networks with random weights, as a run leaves them."""
    import keras

    from kerastransfer.codecs.yolov1 import YoloV1Codec
    from kerastransfer.encoders.yolov1 import yolov1_encoder
    from kerastransfer.export import tflite
    from kerastransfer.models.classifier import classifier
    from kerastransfer.models.yolo_unet import yolo_unet
    from kerastransfer.models.yolov1 import yolov1
    from kerastransfer.runs import trained
    from kerastransfer.tasks import metadata
    from kerastransfer.tasks.about import About

    keras.utils.set_random_seed(0)
    narrow = [((4, 3, 2),)] * 5
    codec = YoloV1Codec(len(CLASSES), sizes="root", score="product")
    networks = {
        "detection": (yolov1(yolov1_encoder(narrow), codec), CLASSES, codec),
        "segmentation": (yolo_unet(yolov1_encoder(narrow), len(LABELS), widths=[4] * 6), LABELS, None),
        "classification": (classifier(yolov1_encoder(narrow), len(CLASSES), dropout=0.5), CLASSES, None),
    }
    folder = tmp_path_factory.mktemp("run") / "models"
    (folder.parent / "config.toml").write_text('data = "toy:20"\nformat = "auto"\nsplit = "auto"\n')
    made = {}
    for task, (network, labels, codec) in networks.items():
        keras_file, tflite_file = folder / f"{task}.keras", folder / f"{task}.tflite"
        trained.write(network, keras_file, About(task=task, labels=labels, image_size=(64, 64), decoder=codec))
        exportable, described = trained.exported(keras_file)
        tflite_file.write_bytes(metadata.attach(tflite.convert(exportable, (64, 64)), described))
        made[task] = keras_file, tflite_file
    return made


def test_help_lists_the_subcommands_and_is_light():
    ended = in_a_process(BARE, "--help")
    assert ended.returncode == 0, ended.stderr
    for word in ("recipes", "datasets", "evaluate", "predict", "export", "convert", "run RECIPE"):
        assert word in ended.stdout


def test_the_version(capsys):
    assert code_of(["--version"]) == 0
    assert capsys.readouterr().out == f"kerastransfer {kerastransfer.__version__}\n"


@pytest.mark.parametrize("argv", [["recipes"], ["run", "--help"], ["run", "-h"]])
def test_recipes_are_listed_with_a_line_each(argv, capsys):
    assert code_of(argv) == 0
    told = capsys.readouterr().out
    assert all(name in told and line in told for name, line in pages().items())


@pytest.fixture
def started(monkeypatch):
    """The settings with which recipes were started; they do nothing."""
    seen = []
    for name in pages():
        page = importlib.import_module(f"kerastransfer.recipes.{name}")

        def main(config, name=name):
            """A page."""
            seen.append((name, config))

        monkeypatch.setattr(page, "main", main)
    monkeypatch.setattr(command_line, "import_keras", lambda: None)
    monkeypatch.setattr(early, "check", lambda recipe, config: None)
    return seen


def test_run_starts_the_recipe_with_its_flags(started):
    assert code_of(["run", "yolo_unet", "--data", "photos", "--net.loss", "darknet"]) == 0
    ((name, config),) = started
    assert name == "yolo_unet" and config.data == "photos" and config.net.loss == "darknet"


@pytest.mark.parametrize(
    "flags", [["--config", "{file}"], ["--config={file}"], ["--batch-size", "4", "--config", "{file}"]]
)
def test_run_finds_the_recipe_by_the_folder_of_its_settings(flags, started, tmp_path):
    file = tmp_path / "yolo_mask" / "mine.toml"
    file.parent.mkdir()
    file.write_text('data = "photos"\n[net]\nwidth = 0.5\n')
    assert code_of(["run", *(flag.format(file=file) for flag in flags)]) == 0
    ((name, config),) = started
    assert name == "yolo_mask" and config.net.width == 0.5


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "subcommand"),
        (["predct"], "error: unknown command 'predct'; the nearest is predict"),
        (["train", "--data", "photos"], "error: unknown command 'train'; kerastransfer run RECIPE trains"),
        (["datasets", "toy", "--merge", "a=disc", "--merge", "b=star"], "--merge is given 2 times; give it once"),
        (["run", "detector", "--classes", "disc", "--classes=star"], "--classes is given 2 times; give it once"),
        (["datasets", "toy", "--fromat", "coco"], "--format"),
        (["datasets", "{tmp}/nowhere"], "no such file or folder"),
        (["datasets", "{tmp}"], "empty folder"),
        (["run"], "needs a recipe"),
        (["run", "detectr"], "the nearest to 'detectr' is 'detector'"),
        (["run", "--config", "{tmp}/run.toml"], "needs a recipe"),
        (["run", "detector", "--los", "giou"], "unknown '--los'"),
        (["predict", "model.keras"], "no image was given"),
        (["predict", "{tmp}/no.keras", "{photos}"], "no such file"),
        (["predict", "{tmp}/no.tflite", "{photos}"], "cannot be read"),
        (["predict", "model.pt", "{photos}"], "give a .keras or a .tflite file"),
        (["predict", "model.keras", "{tmp}"], "no pictures or videos in this folder"),
        (["evaluate", "{tmp}/no.tflite", "toy"], "cannot be read"),
        (["evaluate", "model.pt", "toy"], "give a .keras or a .tflite file"),
        (["export", "{tmp}/no.keras"], "no such file"),
    ],
)
def test_a_mistake_exits_with_2_and_says_what_to_do(argv, told, tmp_path, photos, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    argv = [argument.format(tmp=empty, photos=photos) for argument in argv]
    assert code_of([*argv, *(["--output", tmp_path / "out"] if argv[:1] == ["predict"] else [])]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification"])
@pytest.mark.slow
def test_keras_and_tflite_files_predict_alike(task, trained_models, photos, tmp_path):
    told = []
    for model in trained_models[task]:
        output = tmp_path / model.suffix[1:]
        assert code_of(["predict", model, photos, photos / "00000.png", "--output", output, "--score", "0"]) == 0
        told.append(json.loads((output / "predictions.json").read_text())["images"])
        assert [one["overlay"] for one in told[-1]] == ["00000.png", "00001.png", "00000_2.png"]
        with PIL.Image.open(output / "00000_2.png") as picture:
            assert picture.size == (80, 96)
    for one, other in zip(*told, strict=True):
        assert one["predictions"]
        assert [found["label"] for found in one["predictions"]] == [found["label"] for found in other["predictions"]]
        amount = "fraction" if task == "segmentation" else "score"
        values = [[found[amount] for found in image["predictions"]] for image in (one, other)]
        np.testing.assert_allclose(*values, atol=1e-3)


@pytest.mark.slow
def test_a_new_process_reads_a_keras_file_and_says_nothing_on_stderr(trained_models, photos, tmp_path):
    code = "from kerastransfer import cli; cli.main()"
    ended = in_a_process(code, "predict", trained_models["detection"][0], photos, "--output", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_predict_replaces_no_file_unasked(trained_models, photos, tmp_path, capsys):
    (tmp_path / "00001.png").write_text("mine")
    argv = ["predict", trained_models["segmentation"][1], photos, "--output", tmp_path]
    assert code_of(argv) == 2
    assert "00001.png would be replaced" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["00001.png"]
    assert code_of([*argv, "--overwrite"]) == 0
    assert (tmp_path / "00001.png").read_bytes() != b"mine"


def test_predict_continues_after_a_file_that_is_not_a_picture(trained_models, photos, tmp_path, capsys):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    argv = ["predict", trained_models["segmentation"][1], tmp_path / "torn.jpg", photos, "--output", tmp_path / "out"]
    assert code_of(argv) == 2
    assert "torn.jpg" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]) == 2


@pytest.mark.slow
def test_a_tflite_file_is_run_and_scored_without_tensorflow(trained_models, photos, tmp_path):
    for task, (_, tflite) in trained_models.items():
        ended = in_a_process(BARE, "predict", tflite, photos, "--output", tmp_path / task)
        assert ended.returncode == 0, ended.stderr
    ended = in_a_process(BARE, "evaluate", trained_models["segmentation"][1], "toy:5")
    assert ended.returncode == 0, ended.stderr
    assert "iou_mean" in ended.stdout


@pytest.mark.parametrize(
    ("task", "metric"), [("detection", "AP50"), ("segmentation", "iou_mean"), ("classification", "top1")]
)
def test_evaluate_prints_and_writes_the_same_for_both_files(task, metric, trained_models, tmp_path, capsys):
    results = []
    for model in trained_models[task]:
        file = tmp_path / f"{model.suffix[1:]}.json"
        assert code_of(["evaluate", model, "toy:10", "--output", file]) == 0
        assert metric in capsys.readouterr().out
        results.append(json.loads(file.read_text()))
        assert results[-1]["images"] == 2  # every fifth
    assert results[0]["results"][metric] == pytest.approx(results[1]["results"][metric], abs=1e-3)


def test_evaluate_scores_every_image_on_demand(trained_models, tmp_path):
    file = tmp_path / "scores.json"
    model = trained_models["segmentation"][1]
    assert code_of(["evaluate", model, "toy:3", "--output", file]) == 2  # too few for a fifth
    assert not file.exists()
    assert code_of(["evaluate", model, "toy:3", "--split", "all", "--output", file]) == 0
    assert json.loads(file.read_text())["images"] == 3


@pytest.mark.slow
def test_export_takes_the_data_of_the_run(trained_models, tmp_path, capsys, monkeypatch):
    from kerastransfer.export import parity

    monkeypatch.setattr(parity, "export_all", functools.partial(parity.export_all, kinds=["float32"]))
    argv = ["export", trained_models["segmentation"][0], "--output", tmp_path]
    assert code_of(argv) == 0, capsys.readouterr().err
    assert {path.name for path in (tmp_path / "tflite").iterdir()} == {"segmentation.json", "segmentation.tflite"}
    assert (tmp_path / "saved_model" / "segmentation" / "saved_model.pb").exists()
    assert "segmentation.tflite" in capsys.readouterr().out
    assert code_of(argv) == 2


@pytest.mark.slow
def test_export_compares_outputs_where_the_data_have_no_masks(trained_models, photos, tmp_path, capsys, monkeypatch):
    from kerastransfer.export import parity

    monkeypatch.setattr(parity, "export_all", functools.partial(parity.export_all, kinds=["float32"]))
    for number, photo in enumerate([*photos.iterdir()] * 3):
        (tmp_path / "data" / f"{number}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "data" / f"{number}.png").write_bytes(photo.read_bytes())
        (tmp_path / "data" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2")
    argv = ["export", trained_models["segmentation"][0], "--data", tmp_path / "data", "--output", tmp_path / "out"]
    assert code_of(argv) == 0
    assert "has no segmentation; outputs are compared, but not scored" in capsys.readouterr().err
    (record,) = json.loads((tmp_path / "out/tflite/segmentation.json").read_text())["parity"]["files"]
    assert record["passed"] and record["metric"] is None and record["differences"]["segmentation"]["maximum"] < 1e-3


@pytest.mark.slow
def test_a_model_without_its_description_is_reported(trained_models, tmp_path, photos, capsys):
    alone = tmp_path / "alone.keras"
    alone.write_bytes(trained_models["detection"][0].read_bytes())
    assert code_of(["predict", alone, photos, "--output", tmp_path / "out"]) == 2
    assert "alone.json" in capsys.readouterr().err
    for damaged in ("{", '{"task": "detection"}'):
        alone.with_suffix(".json").write_text(damaged)
        assert code_of(["predict", alone, photos, "--output", tmp_path / "out"]) == 2
        assert "does not describe a model" in capsys.readouterr().err
    assert code_of(["export", alone, "--output", tmp_path / "out"]) == 2


def test_evaluate_matches_names(trained_models, tmp_path, capsys):
    model = trained_models["segmentation"][1]
    import kerastransfer as kt

    name = next(name for name in kt.load(model).about.labels if name != "background")
    file = tmp_path / "scores.json"
    assert code_of(["evaluate", model, "toy:10", "--merge", f"other={name}", "--output", file]) == 0
    told = capsys.readouterr().err
    assert "not scored, because the model does not know them: other; it knows background" in told and "--map" in told
    merged = ["--merge", f"other={name}", "--map", f"other={name}"]
    assert code_of(["evaluate", model, "toy:10", *merged, "--overwrite", "--output", file]) == 0
    mapped = json.loads(file.read_text())["results"]
    assert "not scored" not in capsys.readouterr().err
    assert code_of(["evaluate", model, "toy:10", "--overwrite", "--output", file]) == 0
    assert mapped == json.loads(file.read_text())["results"]


def test_a_folder_of_a_run_lists_its_models(trained_models, photos, tmp_path, capsys):
    folder = trained_models["detection"][0].parent.parent
    for argv in (["predict", folder, photos, "--output", tmp_path], ["evaluate", folder, "toy:5"], ["export", folder]):
        assert code_of(argv) == 2
        error = capsys.readouterr().err
        assert str(trained_models["detection"][0]) in error
        # Of what was exported nothing can be exported again.
        assert ("segmentation.tflite" in error) == (argv[0] != "export")
        assert error.count("\n") == 1
    weights = tmp_path / "encoder.npz"
    weights.write_bytes(b"PK")
    for argv in (
        ["predict", weights, photos, "--output", tmp_path],
        ["evaluate", weights, "toy:5"],
        ["export", weights],
    ):
        assert code_of(argv) == 2
        assert "give a .keras file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["predict", "{model}", "{photos}", "--output"], "file/below"),
        (["evaluate", "{model}", "toy:5", "--output"], "file/scores.json"),
        (["datasets", "toy:4", "--output"], "file/sheet.png"),
        (["export", "{model}", "--output"], "file"),
    ],
)
def test_an_output_that_cannot_be_written_is_found_before_the_work(command, output, photos, tmp_path):
    (tmp_path / "file").write_text("mine")
    argv = [one.format(model="no.keras", photos=photos) for one in command]
    ended = in_a_process(BARE, *argv, tmp_path / output)
    assert ended.returncode == 2
    assert "choose another --output" in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--data", "{tmp}/nowhere"], "no such file or folder"),
        (["--data", "{tmp}/empty"], "is an empty folder"),
        (["--output", "{tmp}/mine"], "holds files that are not from a run"),
        (["--output", "{tmp}/run"], "already holds a run"),
        (["--output", "{tmp}/mine/file"], "is a file"),
        (["--output", "{tmp}/none", "--resume"], "has no run to resume"),
    ],
)
def test_mistakes_in_folders_and_data_are_found_before_tensorflow_is_imported(flags, told, tmp_path):
    for name in ("empty", "mine", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (tmp_path / "run" / "config.toml").write_text("# kerastransfer\n")
    ended = in_a_process(BARE, "run", "detector", *(one.format(tmp=tmp_path) for one in flags))
    assert ended.returncode == 2 and told in ended.stderr, ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_data_of_a_run_that_is_not_here_is_named_with_its_settings(trained_models, tmp_path, capsys):
    model = trained_models["segmentation"][0]
    copied = tmp_path / "run" / "models" / model.name
    copied.parent.mkdir(parents=True)
    for suffix in (".keras", ".json"):
        copied.with_suffix(suffix).write_bytes(model.with_suffix(suffix).read_bytes())
    (tmp_path / "run" / "config.toml").write_text('data = "photos"\nformat = "auto"\nsplit = "auto"\n')
    assert code_of(["export", copied, "--output", tmp_path / "out"]) == 2
    error = capsys.readouterr().err
    assert "config.toml: the run was trained on photos, which does not exist here" in error and "give --data" in error


def test_a_picture_of_too_many_pixels_is_left_out_in_one_line(trained_models, tmp_path):
    PIL.Image.new("1", (12000, 12000)).save(tmp_path / "huge.png")
    code = "from kerastransfer import cli; cli.main()"
    ended = in_a_process(code, "predict", trained_models["segmentation"][1], tmp_path, "--output", tmp_path / "out")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 2 and "huge.png" in ended.stderr and "Warning" not in ended.stderr

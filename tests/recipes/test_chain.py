"""The recipes from data to report, on small drawn scenes; killed and resumed; and with input that cannot work."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest

from kerastransfer.data import datasets, splits
from kerastransfer.recipes import detector, yolo_segnet
from kerastransfer.runs import command_line, trained
from kerastransfer.tasks import TASKS
from kerastransfer.training import precision

SMALL = [
    *("--data", "toy:20", "--image-size", "64", "--batch-size", "8"),
    *("--detector-epochs", "2", "--decoder-epochs", "2", "--no-cache-features"),
]


def command(recipe, *flags):
    return [sys.executable, "-m", f"kerastransfer.recipes.{recipe}", *flags]


def run(recipe, *flags, **options):
    return subprocess.run(command(recipe, *flags), capture_output=True, text=True, timeout=900, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run of yolo_segnet, undisturbed and without export: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("chain") / "run"
    done = run("yolo_segnet", *SMALL, "--no-export", "--deterministic", "--output", str(folder))
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.mark.slow
def test_the_run_folder_holds_what_the_contract_says(finished):
    folder, done = finished
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["recipe"] == "yolo_segnet" and metrics["data"] == "toy:20" and metrics["seed"] == 0
    assert set(metrics["results"]) == {"yolov1", "yolo_segnet", "yolo_unet"}
    assert metrics["seconds"]["detector"] > 0
    assert (folder / "history.csv").read_text().splitlines()[0].startswith("phase,epoch")
    for model in metrics["results"]:
        for name in (f"models/{model}.keras", f"models/{model}.json", f"models/{model}.weights.h5"):
            assert (folder / name).exists(), name
    assert (folder / "models/encoder.keras").exists()
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64," in page and "What yolov1 finds" in page and "iou mean of yolo_unet" in page
    assert str(folder / "report.html") in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("model", "task"), [("yolov1", "detection"), ("yolo_unet", "segmentation")])
def test_the_kept_model_has_the_scores_that_were_written(finished, model, task):
    """Of the file, opened anew, on the same test images."""
    folder, _ = finished
    predictor = trained.open_predictor(folder / f"models/{model}.keras")
    assert predictor.about.task == task
    _, test = splits.split(datasets.load("toy:20"), "every_fifth", (TASKS[task].FIELD,))
    scores = TASKS[task].score(predictor.predict, test, predictor.about.labels).metrics
    written = json.loads((folder / "metrics.json").read_text())["results"][model]
    assert written.keys() == scores.keys()
    np.testing.assert_allclose([np.nan if value is None else value for value in written.values()], [*scores.values()])


@pytest.mark.slow
def test_the_kept_predictions_score_the_same_with_cocos_own_tools(finished):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder, _ = finished
    truth = COCO(str(folder / "predictions/truth_detection.json"))
    assert len(truth.imgs) == 4
    scorer = COCOeval(truth, truth.loadRes(str(folder / "predictions/yolov1.json")), "bbox")
    scorer.evaluate(), scorer.accumulate(), scorer.summarize()
    written = json.loads((folder / "metrics.json").read_text())["results"]["yolov1"]
    np.testing.assert_allclose([written["AP"], written["AP50"], written["AR100"]], scorer.stats[[0, 1, 8]], atol=1e-9)
    segments = json.loads((folder / "predictions/truth_segmentation.json").read_text())
    assert [image["file_name"] for image in segments["images"]] == ["00004", "00009", "00014", "00019"]


@pytest.mark.slow
def test_the_stored_settings_name_the_precision_that_auto_stood_for(finished):
    """So that --resume on another machine computes as the run began, or is refused."""
    folder, done = finished
    expected = precision.resolved("auto")
    assert tomllib.loads((folder / "config.toml").read_text())["precision"] == expected != "auto"
    assert done.stdout.count(f" weights, in {expected}") == 3


YOLOV3 = ["--model", "yolov3-tiny", "--net.width", "0.25", "--net.loss", "ciou"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), [("yolov1", ["--model", "small"]), ("yolov3", YOLOV3)])
def test_the_detector_is_exported_and_checked(name, flags, tmp_path, capsys):
    """Two epochs give a poor model, whose int8 file may lose more than is allowed: then the run says so and exits
    with 1, and everything else is there all the same."""
    from kerastransfer.export.predictor import Predictor

    folder, code = tmp_path / "run", 0
    try:
        argv = [*SMALL[:8], *flags, "--output", str(folder), "--quiet"]
        command_line.run(detector.main, detector.Config, argv)
    except SystemExit as ended:
        code = ended.code
    assert (folder / f"saved_model/{name}/saved_model.pb").exists()
    files = json.loads((folder / f"tflite/{name}.json").read_text())["parity"]["files"]
    assert [file["kind"] for file in files] == ["float32", "float16", "int8"]
    failed = [file["path"] for file in files if not file["passed"]]
    assert code == (1 if failed else 0)
    said = capsys.readouterr()
    assert "exported files: " in said.out and all(path in said.err for path in failed)
    assert sorted(path.name for path in (folder / "tflite").glob("*.tflite")) == sorted(file["path"] for file in files)
    for file in files:
        assert (folder / "tflite" / file["path"]).stat().st_size == file["bytes"]
    page = (folder / "report.html").read_text()
    assert all(file["path"] in page for file in files)

    assert files[0]["passed"]
    lite, kept = Predictor(folder / f"tflite/{name}.tflite"), trained.open_predictor(folder / f"models/{name}.keras")
    image = datasets.load("toy:1").samples[0].read()["image"]
    got, expected = lite.outputs(image), kept.outputs(image)
    for output, values in expected.items():
        np.testing.assert_allclose(got[output], values, atol=1e-3)


@pytest.mark.slow
def test_frozen_weights_did_not_move(finished):
    folder, _ = finished
    report = json.loads((folder / "transfer_report.json").read_text())
    assert set(report) == {"yolo_segnet", "yolo_unet"}
    for decoder in report.values():
        assert decoder["moved"] == [] and decoder["fresh"] == []
        assert decoder["checksum_before"] == decoder["checksum_after"]
        assert len(decoder["frozen"]) == len(decoder["copied"]) > 0
    from kerastransfer.training import transfer

    parts = [trained.encoder(folder / f"models/{name}.keras") for name in ("encoder", "yolov1", "yolo_unet")]
    assert len({transfer.checksum(part) for part in parts}) == 1


@pytest.mark.slow
def test_a_run_killed_twice_ends_with_the_numbers_of_the_undisturbed_one(finished, tmp_path):
    undisturbed, _ = finished
    folder = tmp_path / "killed"
    flags = [*SMALL, "--no-export", "--deterministic", "--output", str(folder)]
    for phase in ("detector,1,", "yolo_segnet,1,"):
        process = subprocess.Popen(command("yolo_segnet", *flags), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(folder / "history.csv", phase, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        flags = [*flags, "--resume"] if "--resume" not in flags else flags
    assert not (folder / "report.html").exists()
    done = run("yolo_segnet", *flags)
    assert done.returncode == 0, done.stderr
    for name in ("yolov1", "yolo_unet"):
        assert_same_weights(*(path / f"models/{name}.weights.h5" for path in (undisturbed, folder)))
    want, got = (json.loads((path / "metrics.json").read_text())["results"] for path in (undisturbed, folder))
    assert want == got
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + 3 * 2


def wait_for(path, text, process):
    deadline = time.monotonic() + 400
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, f"{text!r} never came"
        time.sleep(0.05)


def assert_same_weights(a, b):
    import h5py

    with h5py.File(a) as a, h5py.File(b) as b:
        names = []
        a.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert names
        for name in names:
            np.testing.assert_array_equal(a[name][()], b[name][()], err_msg=name)


@pytest.mark.slow
def test_an_encoder_of_another_run_is_taken(finished, tmp_path):
    """And --freeze weights lets batch statistics drift, and nothing else."""
    folder, _ = finished
    flags = [*SMALL, "--encoder", str(folder / "models/encoder.keras"), "--freeze", "weights", "--no-export", "--quiet"]
    done = run("yolo_unet", *flags, "--output", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/metrics.json").read_text())["results"]
    assert set(results) == {"yolo_unet"}
    report = json.loads((tmp_path / "run/transfer_report.json").read_text())["yolo_unet"]
    assert report["moved"] and all("moving" in name for name in report["moved"])
    assert report["source"] == str(folder / "models/encoder.keras")


@pytest.mark.slow
def test_decoders_on_cached_features(finished, tmp_path):
    """Of a whole detector's encoder. Both decoders find the tap that they share in the folder, and the models run from
    image to mask."""
    folder, _ = finished
    cache = tmp_path / "features"
    flags = [*SMALL, "--encoder", str(folder / "models/yolov1.keras"), "--no-export", "--quiet"]
    flags += ["--cache-features", "--feature-folder", str(cache), "--output", str(tmp_path / "run")]
    done = run("yolo_segnet", *flags)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in cache.glob("*/*.npy")) == [f"c{i}.npy" for i in range(1, 6)]
    results = json.loads((tmp_path / "run/metrics.json").read_text())["results"]
    assert set(results) == {"yolo_segnet", "yolo_unet"}
    report = json.loads((tmp_path / "run/transfer_report.json").read_text())
    assert report["yolo_unet"]["moved"] == [] and len(report["yolo_unet"]["frozen"]) > 0


def stopped(capsys, folder, *flags):
    """What a run says on stderr that ends with exit code 2 and one line, and leaves no folder."""
    with pytest.raises(SystemExit) as end:
        argv = [*SMALL, "--output", str(folder), "--quiet", *map(str, flags)]
        command_line.run(yolo_segnet.main, yolo_segnet.Config, argv)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    assert not folder.exists()
    return error


BAD = {
    "cached features that would drift": (["--cache-features", "--freeze", "weights"], "leave out --freeze weights"),
    "fraction that leaves nothing": (["--fraction", "0.01"], "leaves none"),
    "one image": (["--data", "toy:1"], "1 images"),
    "encoder that is missing": (["--encoder", "nowhere.keras"], "nowhere.keras: no such file"),
    "an unknown name, before the data is read": (["--encoder", "nope", "--data", "nowhere"], "unknown preset nope"),
    "encoder of version 0.1": (["--encoder", "old/encoder.npz"], "give a .keras file of the same run"),
    "workers without TF_CONFIG": (["--strategy", "multi_worker"], "multi_worker needs TF_CONFIG"),
    "size that the stride does not divide": (["--image-size", "70"], "multiple of 16"),
    "nothing to resume": (["--resume"], "has no run to resume"),
    "settings of another family": (["--net.width", "0.5"], "unknown '--net.width'"),
    "seeds that cannot start": (["--encoder", "nowhere.keras", "--seeds", "0", "1"], "nowhere.keras: no such file"),
    "no decoder": (["--decoders"], "--decoders is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, capsys):
    flags, words = BAD[case]
    assert words in stopped(capsys, tmp_path / "run", *flags)


def test_an_encoder_that_does_not_fit(tmp_path, capsys):
    import keras

    from kerastransfer.encoders.yolov1 import yolov1_encoder
    from kerastransfer.export import loading

    whole, truncated, other = (tmp_path / f"{name}.keras" for name in ("encoder", "truncated", "other"))
    loading.write_keras(yolov1_encoder([((4, 3, 2),)] * 5), whole)
    truncated.write_bytes(whole.read_bytes()[:1000])
    image = keras.Input((64, 64, 3))
    keras.Model(image, keras.layers.Flatten()(image)).save(other)
    for path, flags, words in (
        (whole, ["--image-size", "72"], "72 is not a multiple of 32"),
        (truncated, [], "not a .keras file, or truncated"),
        (other, [], "or a detector's .keras file"),
    ):
        assert words in stopped(capsys, tmp_path / "run", "--encoder", path, *flags)

"""The recipes from data to report, on small drawn scenes; killed and resumed; and with input that cannot work."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from kerastransfer.training import precision

SMALL = [
    "--data",
    "toy:20",
    "--image-size",
    "64",
    "--batch-size",
    "8",
    "--detector-epochs",
    "2",
    "--decoder-epochs",
    "2",
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


def test_the_run_folder_holds_what_the_contract_says(finished):
    folder, done = finished
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["recipe"] == "yolo_segnet" and metrics["data"] == "toy:20" and metrics["seed"] == 0
    assert set(metrics["results"]) == {"yolov1", "yolo_segnet", "yolo_unet"}
    assert 0 <= metrics["results"]["yolo_unet"]["iou_mean"] <= 1
    assert metrics["seconds"]["detector"] > 0
    assert (folder / "history.csv").read_text().splitlines()[0].startswith("phase,epoch")
    for model in metrics["results"]:
        for name in (f"models/{model}.keras", f"models/{model}.json", f"models/{model}.weights.h5"):
            assert (folder / name).exists(), name
        assert json.loads((folder / f"predictions/{model}.json").read_text()) is not None
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64," in page and "yolo_unet" in page
    assert str(folder / "report.html") in done.stdout


def test_the_stored_settings_name_the_precision_that_auto_stood_for(finished):
    """So that --resume on another machine computes as the run began, or is refused."""
    folder, done = finished
    expected = precision.resolved("auto")
    assert tomllib.loads((folder / "config.toml").read_text())["precision"] == expected != "auto"
    assert done.stdout.count(f" weights, in {expected}") == 3


YOLOV3 = ["--model", "yolov3-tiny", "--width", "0.25", "--loss", "ciou"]


@pytest.mark.parametrize(("name", "flags"), [("yolov1", []), ("yolov3", YOLOV3)])
def test_the_detector_is_exported_and_checked(name, flags, tmp_path, capsys):
    """Two epochs give a poor model, whose int8 file may lose more than is allowed: then the run says so and exits
    with 1, and everything else is there all the same."""
    from kerastransfer.recipes import detector
    from kerastransfer.runs import settings

    folder = tmp_path / "run"
    with contextlib.suppress(SystemExit):
        settings.run(detector.main, detector.Config, [*SMALL[:8], *flags, "--output", str(folder), "--quiet"])
    assert (folder / f"saved_model/{name}/saved_model.pb").exists()
    files = json.loads((folder / f"tflite/{name}.json").read_text())["parity"]["files"]
    assert [file["kind"] for file in files] == ["float32", "float16", "int8"]
    for file in files:
        assert (folder / "tflite" / file["path"]).stat().st_size == file["bytes"]
        assert file["passed"] == (".failed" not in file["path"])
    assert files[0]["passed"] and "exported files: " in capsys.readouterr().out
    assert f"{name}.tflite" in (folder / "report.html").read_text()


def test_the_strides_that_help_needs_are_the_encoders():
    from kerastransfer.detectors.families import YOLOV1
    from kerastransfer.encoders.yolov1 import ENCODERS, tap_strides

    assert {name: max(tap_strides(build()).values()) for name, build in ENCODERS.items()} == YOLOV1


def test_frozen_weights_did_not_move(finished):
    folder, _ = finished
    report = json.loads((folder / "transfer_report.json").read_text())
    assert set(report) == {"yolo_segnet", "yolo_unet"}
    for decoder in report.values():
        assert decoder["moved"] == []
        assert decoder["checksum"] == decoder["checksum_before"] == decoder["checksum_after"]
        assert len(decoder["frozen"]) == len(decoder["copied"]) > 0


def test_a_run_killed_twice_ends_with_the_numbers_of_the_undisturbed_one(finished, tmp_path):
    undisturbed, _ = finished
    folder = tmp_path / "killed"
    flags = [*SMALL, "--no-export", "--deterministic", "--output", str(folder), "--resume"]
    for phase in ("detector,1,", "yolo_segnet,1,"):
        process = subprocess.Popen(command("yolo_segnet", *flags), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(folder / "history.csv", phase, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / "report.html").exists()
    assert run("yolo_segnet", *flags).returncode == 0
    for part in ("encoder.npz", "yolo_unet.weights.h5"):
        assert_same_weights(undisturbed / "models" / part, folder / "models" / part)
    want, got = (json.loads((path / "metrics.json").read_text())["results"] for path in (undisturbed, folder))
    assert want == got
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + 3 * 2


def wait_for(path, text, process):
    deadline = time.monotonic() + 200
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, f"{text!r} never came"
        time.sleep(0.05)


def assert_same_weights(a: Path, b: Path):
    if a.suffix == ".npz":
        a, b = np.load(a), np.load(b)
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
        return
    import h5py

    with h5py.File(a) as a, h5py.File(b) as b:
        names = []
        a.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert names
        for name in names:
            np.testing.assert_array_equal(a[name][()], b[name][()], err_msg=name)


def test_an_encoder_of_another_run_is_taken(finished, tmp_path):
    """And --freeze weights lets batch statistics drift, and nothing else."""
    folder, _ = finished
    flags = [*SMALL, "--encoder", str(folder / "models/encoder.npz"), "--freeze", "weights", "--no-export", "--quiet"]
    done = run("yolo_unet", *flags, "--output", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/metrics.json").read_text())["results"]
    assert set(results) == {"yolo_unet"}
    report = json.loads((tmp_path / "run/transfer_report.json").read_text())["yolo_unet"]
    assert report["moved"] and all("moving" in name for name in report["moved"])


def test_decoders_on_cached_features(finished, tmp_path):
    """Both decoders find the tap that they share in the folder, and what they make runs from image to mask."""
    folder, _ = finished
    cache = tmp_path / "features"
    flags = [*SMALL, "--encoder", str(folder / "models/encoder.npz"), "--no-export", "--quiet"]
    flags += ["--cache-features", "--feature-folder", str(cache), "--output", str(tmp_path / "run")]
    done = run("yolo_segnet", *flags)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in cache.glob("*/*.npy")) == [f"c{i}.npy" for i in range(1, 6)]
    results = json.loads((tmp_path / "run/metrics.json").read_text())["results"]
    assert set(results) == {"yolo_segnet", "yolo_unet"}
    report = json.loads((tmp_path / "run/transfer_report.json").read_text())
    assert report["yolo_unet"]["moved"] == [] and len(report["yolo_unet"]["frozen"]) > 0


BAD = {
    "cached features that would drift": (["--cache-features", "--freeze", "weights"], "leave out --freeze weights"),
    "fraction that leaves nothing": (["--fraction", "0.01"], "leaves none"),
    "one image": (["--data", "toy:1"], "1 images"),
    "encoder that is missing": (["--encoder", "nowhere.npz"], "nowhere.npz: there is no such file"),
    "workers without TF_CONFIG": (["--strategy", "multi_worker"], "multi_worker needs TF_CONFIG"),
    "size that the stride does not divide": (["--image-size", "70"], "multiple of 16"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, capsys):
    from kerastransfer.recipes import yolo_segnet
    from kerastransfer.runs import settings

    flags, words = BAD[case]
    with pytest.raises(SystemExit) as stopped:
        settings.run(
            yolo_segnet.main, yolo_segnet.Config, [*SMALL, "--output", str(tmp_path / "run"), "--quiet", *flags]
        )
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run/metrics.json").exists()


def test_an_encoder_that_does_not_fit(finished, tmp_path, capsys):
    from kerastransfer.recipes import yolo_segnet
    from kerastransfer.runs import settings

    folder, _ = finished
    whole = folder / "models/encoder.npz"
    truncated = tmp_path / "truncated.npz"
    truncated.write_bytes(whole.read_bytes()[:1000])
    for path, model, words in ((whole, "fast_yolo", "does not fit"), (truncated, "small", "not a whole file")):
        flags = ["--encoder", str(path), "--model", model, "--output", str(tmp_path / model), "--quiet"]
        with pytest.raises(SystemExit) as stopped:
            settings.run(yolo_segnet.main, yolo_segnet.Config, [*SMALL, *flags])
        assert stopped.value.code == 2
        assert words in capsys.readouterr().err

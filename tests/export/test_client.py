"""The client outside the package says what the package's predictor says."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerastransfer.export.predictor import Predictor
from kerastransfer.tasks import images, metadata

CLIENT = Path(__file__).resolve().parents[2] / "export" / "python" / "predict.py"


def run(*arguments):
    return subprocess.run([sys.executable, CLIENT, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_the_client_equals_the_predictor(exported, photo_paths, tmp_path, task, kind):
    overlay = tmp_path / "overlay.png"
    done = run(exported[task, kind], photo_paths[1], "--output", overlay, "--json")
    assert done.returncode == 0, done.stderr
    prediction = Predictor(exported[task, kind]).predict(photo_paths[1])
    expected = prediction.summary()
    got = json.loads(done.stdout)
    assert [one["label"] for one in got] == [one["label"] for one in expected]
    for mine, theirs in zip(got, expected, strict=True):
        for name in mine.keys() - {"label"}:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-4)
    with PIL.Image.open(overlay) as drawn, PIL.Image.open(photo_paths[1]) as photo:
        assert drawn.size == photo.size
        assert (np.asarray(drawn) != np.asarray(photo.convert("RGB"))).any()


def test_the_client_reads_photos_as_the_package_does(odd_pictures):
    """It repeats the conversion on purpose, so that it stays one file."""
    client = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("client", CLIENT))
    spec.loader.exec_module(client)
    for path in odd_pictures:
        with PIL.Image.open(path) as photo:
            np.testing.assert_array_equal(np.asarray(client.rgb(photo)), images.read(path), err_msg=path.name)
    with pytest.raises(ValueError, match="32 bits"):
        client.rgb(PIL.Image.new("I", (3, 2)))


@pytest.fixture(scope="module")
def letterboxed(exported, tmp_path_factory):
    """{task: path} of files that say that images are letterboxed."""
    paths = {}
    for task in ("detection", "segmentation"):
        whole = exported[task, "float32"]
        with zipfile.ZipFile(whole) as archive:
            end = archive.infolist()[0].header_offset
        boxed = dataclasses.replace(metadata.read(whole), resize="letterbox")
        paths[task] = tmp_path_factory.mktemp("boxed") / f"{task}.tflite"
        paths[task].write_bytes(metadata.attach(whole.read_bytes()[:end], boxed))
    return paths


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_letterboxed_photos(letterboxed, exported, photo_paths, task):
    done = run(letterboxed[task], photo_paths[1], "--json")
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    expected, stretched = (
        Predictor(path).predict(photo_paths[1]).summary() for path in (letterboxed[task], exported[task, "float32"])
    )
    assert [one["label"] for one in got] == [one["label"] for one in expected]
    for mine, theirs in zip(got, expected, strict=True):
        for name in mine.keys() - {"label"}:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-4)
    assert expected != stretched and len(expected) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_the_client_draws_instances(instance_files, instance_contents, photo_paths, tmp_path, kind, resize):
    about = dataclasses.replace(metadata.read(instance_files[kind]), resize=resize)
    model = tmp_path / "model.tflite"
    model.write_bytes(metadata.attach(instance_contents[kind], about))
    overlay = tmp_path / "overlay.png"
    done = run(model, photo_paths[4], "--output", overlay, "--json")
    assert done.returncode == 0, done.stderr
    predictor = Predictor(model)
    assert predictor.about.resize == resize
    prediction = predictor.predict(photo_paths[4])
    got, expected = json.loads(done.stdout), prediction.summary()
    assert [one["label"] for one in got] == [one["label"] for one in expected] != []
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.keys() == theirs.keys() == {"label", "score", "box", "filled", "mask"}
        for name in ("score", "box", "filled"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-3)
        assert mine["mask"]["size"] == theirs["mask"]["size"]
        assert sum(mine["mask"]["counts"]) == np.prod(mine["mask"]["size"])
        inked = [sum(one["mask"]["counts"][1::2]) for one in (mine, theirs)]
        assert inked[0] == pytest.approx(inked[1], rel=1e-3, abs=2)
    with PIL.Image.open(overlay) as drawn, PIL.Image.open(photo_paths[4]) as photo:
        changed = (np.asarray(drawn) != np.asarray(photo.convert("RGB"))).any(axis=-1)
    assert changed[prediction.masks.any(axis=0)].mean() > 0.9
    told = run(model, photo_paths[4]).stdout.splitlines()
    assert len(told) == len(expected) and "counts" not in told[0]


def test_the_client_stands_alone():
    source = CLIENT.read_text()
    assert "import kerastransfer" not in source
    assert "from kerastransfer" not in source
    needed = (CLIENT.parent / "requirements.txt").read_text()
    assert all(name in needed for name in ("ai-edge-litert", "numpy", "pillow"))


def test_bad_files_end_in_one_line(exported, photo_paths, tmp_path):
    (tmp_path / "model.tflite").write_text("no model")
    for model, photo in (
        (tmp_path / "model.tflite", photo_paths[0]),
        (tmp_path / "missing.tflite", photo_paths[0]),
        (exported["detection", "int8"], tmp_path / "missing.jpg"),
    ):
        done = run(model, photo)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr

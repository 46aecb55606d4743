import dataclasses
import io
import json
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.tasks import metadata
from kerastransfer.tasks.about import About, Thresholds

ABOUT = About(
    task="detection", labels=("Kätzchen", "dog"), image_size=(64, 96), kind="int8", thresholds=Thresholds(0.3, 0.6, 20)
)
MODEL = b"\x1c\0\0\0TFL3" + bytes(1000)


def test_what_was_attached_is_read(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(metadata.attach(MODEL, ABOUT))
    assert metadata.read(path) == ABOUT
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().splitlines() == ["Kätzchen", "dog"]
        assert json.loads(archive.read("metadata.json"))["image"]["range"] == [0, 255]


def test_the_model_comes_first_and_equal_models_give_equal_files():
    assert metadata.attach(MODEL, ABOUT).startswith(MODEL)
    assert metadata.attach(MODEL, ABOUT) == metadata.attach(MODEL, ABOUT)


def test_how_images_are_resized(tmp_path):
    """Files of older versions have nothing to say, and stretch."""
    path = tmp_path / "model.tflite"
    boxed = dataclasses.replace(ABOUT, resize="letterbox")
    whole = metadata.attach(MODEL, boxed)
    path.write_bytes(whole)
    assert metadata.read(path) == boxed
    with zipfile.ZipFile(path) as archive:
        described = json.loads(archive.read("metadata.json"))
    assert described["image"].pop("resize") == "letterbox, bilinear"
    for image, resize in ((described["image"], "stretch"), ({**described["image"], "resize": "crop"}, None)):
        path.write_bytes(MODEL)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("metadata.json", json.dumps({**described, "image": image}))
        if resize:
            assert metadata.read(path).resize == resize
        else:
            with pytest.raises(UserError, match="copy or export it again"):
                metadata.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a .tflite file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a .tflite file"),
        (MODEL, "missing"),
        (metadata.attach(MODEL, ABOUT)[:1010], "missing"),
        (metadata.attach(MODEL, ABOUT)[:-30], "missing"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, reason):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as error:
        metadata.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        metadata.read(tmp_path / "model.tflite")


def described(**changes):
    """The content of metadata.json, with changes; a change of None leaves the key out."""
    with zipfile.ZipFile(io.BytesIO(metadata.attach(MODEL, ABOUT))) as archive:
        whole = json.loads(archive.read("metadata.json")) | changes
    return {key: value for key, value in whole.items() if value is not None}


def with_metadata(path, content):
    path.write_bytes(MODEL)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", content)
    return path


THRESHOLDS = {"score": 0.3, "iou": 0.6, "detections": 20}
IMAGE = {"height": 64, "width": 96}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "evil"}, "task is 'evil'; known are detection"),
        ({"task": ["detection"]}, "task is"),
        ({"task": None}, "task is missing"),
        ({"labels": []}, "labels is"),
        ({"labels": "abc"}, "labels is 'abc'"),
        ({"labels": ["cat", ""]}, "label ''"),
        ({"labels": ["cat", 3]}, "label 3"),
        ({"labels": ["cat", "\x1b[2J"]}, "printable"),
        ({"labels": ["cat", "a\nb"]}, "printable"),
        ({"labels": ["cat", "a" * 5000]}, "printable"),
        ({"image": {"height": "64", "width": 64}}, "image size"),
        ({"image": {"height": -64, "width": 64}}, "image size"),
        ({"image": {"height": 64.5, "width": 64}}, "image size"),
        ({"image": {"height": True, "width": 64}}, "image size"),
        ({"image": {"height": 10**9, "width": 64}}, "image size"),
        ({"image": 3}, "no image"),
        ({"image": IMAGE | {"resize": ["stretch"]}}, "resize"),
        ({"thresholds": THRESHOLDS | {"score": "x"}}, "score is 'x'"),
        ({"thresholds": THRESHOLDS | {"score": float("nan")}}, "score is nan"),
        ({"thresholds": THRESHOLDS | {"iou": 2}}, "iou is 2"),
        ({"thresholds": THRESHOLDS | {"detections": 1.5}}, "detections is 1.5"),
        ({"thresholds": THRESHOLDS | {"detections": -1}}, "detections is -1"),
        ({"thresholds": None}, "no thresholds"),
        ({"kind": 8}, "kind is 8"),
        ({"kerastransfer": "\n"}, "kerastransfer is"),
    ],
)
def test_a_description_is_checked(changes, reason, tmp_path):
    with pytest.raises(UserError, match=re.escape(reason)) as error:
        metadata.read(with_metadata(tmp_path / "model.tflite", json.dumps(described(**changes))))
    assert "\n" not in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"task":' * 60 + "1" + "}" * 60, "[]", "3", "nonsense", "\xff"])
def test_other_json_is_refused(content, tmp_path):
    with pytest.raises(UserError, match="damaged") as error:
        metadata.read(with_metadata(tmp_path / "model.tflite", content))
    assert "\n" not in str(error.value)


def test_an_archive_that_unpacks_to_gigabytes_is_refused_at_once(tmp_path):
    """Of 60 MB here; what is unpacked does not depend on it."""
    path = tmp_path / "model.tflite"
    path.write_bytes(MODEL)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", bytes(60_000_000))
    tracemalloc.start()
    with pytest.raises(UserError, match="more than 4,000,000 bytes"):
        metadata.read(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_would_be_unpacked_in_chunks_of_any_size_is_refused(method, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(MODEL)
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("metadata.json", bytes(30_000_000))
    tracemalloc.start()
    with pytest.raises(UserError, match="compressed in another way"):
        metadata.read(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    """400 files with random damage to bytes, 400 with random damage to the structure."""
    rng, path = np.random.default_rng(0), tmp_path / "model.tflite"
    whole = metadata.attach(MODEL, ABOUT)
    odd = [None, [], {}, "", "x\n", -1, 0, 1e400, True, [[]], "detection", 2**70]
    for number in range(800):
        if number % 2:
            content = bytearray(whole)
            for _ in range(rng.integers(1, 9)):
                content[rng.integers(len(MODEL), len(content))] = rng.integers(256)
            path.write_bytes(content[: rng.integers(len(MODEL), len(content) + 1)] if number % 3 == 0 else content)
        else:
            changed = described()
            places = [(changed, key) for key in changed] + [
                (changed[part], key) for part in ("image", "thresholds") for key in changed[part]
            ]
            for _ in range(rng.integers(1, 4)):
                where, key = places[rng.integers(len(places))]
                where[key] = odd[rng.integers(len(odd))]
            with_metadata(path, json.dumps(changed))
        try:
            metadata.read(path)
        except UserError as error:
            assert "\n" not in str(error)

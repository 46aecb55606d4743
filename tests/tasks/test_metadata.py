import dataclasses
import json
import zipfile

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

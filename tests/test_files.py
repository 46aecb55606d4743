"""Files appear whole or not at all; a disk that cannot take them is told in one line."""

import errno
import json
import os

import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.files import read_json, replacing, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "new" / "folder" / "notes.txt"
    for text in ("first", "second, größer"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text and names(path.parent) == ["notes.txt"]


def test_the_temporary_file_has_the_same_suffix_and_folder(tmp_path):
    with replacing(tmp_path / "model.weights.h5") as temporary:
        assert temporary.parent == tmp_path and temporary.name.endswith(".weights.h5")
        temporary.write_bytes(b"1")
        assert names(tmp_path) == [temporary.name]
    assert names(tmp_path) == ["model.weights.h5"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "notes.txt"
    write_text(path, "old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["notes.txt"]


def fails(number):
    def call(*_):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path, monkeypatch, number):
    path = tmp_path / "notes.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", fails(number))
    with pytest.raises(UserError, match="the disk is full; free some space"):
        write_text(path, "new")
    assert path.read_text() == "old" and names(tmp_path) == ["notes.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full stands in for a full disk")  # noqa: PTH110
def test_a_disk_that_is_full_while_writing(tmp_path):
    with pytest.raises(UserError, match="the disk is full"), replacing(tmp_path / "notes.txt") as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "open", fails(number))
    with (
        pytest.raises(UserError, match=r"cannot be written.*choose another --output"),
        replacing(tmp_path / "a") as temporary,
    ):
        temporary.write_text("x")


@pytest.mark.parametrize("inside", ["notes.txt", "folder/notes.txt", "a/b/notes.txt"])
def test_a_folder_that_is_a_file(tmp_path, inside):
    (tmp_path / "file").write_text("old")
    with pytest.raises(UserError, match="cannot be written") as error:
        write_text(tmp_path / "file" / inside, "new")
    assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "old" and names(tmp_path) == ["file"]


def test_a_file_that_is_a_folder(tmp_path):
    (tmp_path / "notes.txt" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "notes.txt", "new")
    assert names(tmp_path) == ["notes.txt"]


def test_json_of_numpy_and_of_numbers_that_are_not_finite(tmp_path):
    path = tmp_path / "metrics.json"
    value = {"a": np.float32(0.5), 3: np.array([[1, 2], [3, 4]]), "b": (np.nan, np.inf, 1.0), "c": np.array([np.nan])}
    write_json(path, value | {"d": True, "e": None, "f": "größer", "g": np.int64(7), "h": np.bool_(False)})
    wanted = {"a": 0.5, "3": [[1, 2], [3, 4]], "b": [None, None, 1.0], "c": [None], "d": True, "e": None, "f": "größer"}
    assert json.loads(path.read_text(encoding="utf-8")) == read_json(path) == wanted | {"g": 7, "h": False}


def test_reading_json(tmp_path):
    assert read_json(tmp_path / "none.json") is None and read_json(tmp_path / "none.json", missing={}) == {}
    for damaged in (b'{"a": 1', b"", b"\xff\xfe\x00"):
        (tmp_path / "half.json").write_bytes(damaged)
        with pytest.raises(UserError, match=r"is not valid JSON .*--overwrite") as error:
            read_json(tmp_path / "half.json")
        assert "\n" not in str(error.value)

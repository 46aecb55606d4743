"""The check of a data set is remembered until something changes, and a damaged memory is none."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from kerastransfer.data import checked, datasets, reading
from kerastransfer.data.images import read_photo


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(checked, "folder", lambda: tmp_path / "home" / "checked")
    random = np.random.default_rng(0)
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Noise: pictures of a few colours in two folders of the same names would be masks.
        Image.fromarray(random.integers(0, 256, (8, 9, 3), np.uint8)).save(path)
    sixteen = np.full((8, 9), 2000, np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "photos" / "dog" / "dark.png")
    (tmp_path / "photos" / "dog" / "3.png").write_bytes(b"damaged")
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch):
    """The names of photos that were decoded."""
    names = []

    def counted(source):
        names.append(source.name)
        return read_photo(source)

    monkeypatch.setattr(reading, "read_photo", counted)
    return names


def load(photos):
    found = datasets.load(photos, max_bad=0.5)
    return [sample.name for sample in found.samples], found.bad, found.notes


def test_the_second_start_decodes_nothing_and_finds_the_same(photos, decoded):
    first = load(photos)
    assert len(decoded) == 6 and [one.name for one in first[1]] == ["dog/3"] and "nearly black" in first[2][0]
    assert load(photos) == first and len(decoded) == 6


def rewritten(photos):
    """Of the same size, at another time."""
    path = photos / "cat" / "1.png"
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    "change",
    [
        rewritten,
        lambda photos: (photos / "dog" / "2.png").write_bytes(b"no picture"),
        lambda photos: (photos / "dog" / "2.png").unlink(),
        lambda photos: (photos / "dog" / "2.png").rename(photos / "cat" / "3.png"),
        lambda photos: Image.new("RGB", (4, 4)).save(photos / "cat" / "9.png"),
        lambda photos: (photos / "notes.txt").write_text("a file that another layout may read"),
    ],
    ids=["touched", "damaged", "removed", "moved", "added", "beside"],
)
def test_what_has_changed_is_checked_again(photos, decoded, change):
    load(photos)
    decoded.clear()
    change(photos)
    found = load(photos)
    assert len(decoded) == len(found[0]) + len(found[1])


def test_another_version_checks_again(photos, decoded, monkeypatch):
    load(photos)
    monkeypatch.setattr(checked, "FORMAT", checked.FORMAT + 1)
    load(photos)
    assert len(decoded) == 12


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "\x00\xff",
        lambda text: "[1, 2]",
        lambda text: "null",
        lambda text: json.dumps({**json.loads(text), "told": None}),
        lambda text: json.dumps({**json.loads(text), "told": {"cat/1": "bad"}}),
        lambda text: json.dumps({**json.loads(text), "told": {"cat/1": [3, []]}}),
        lambda text: json.dumps({**json.loads(text), "told": {"cat/1": [None, [5]]}}),
        lambda text: "[" * 100_000,
    ],
)
def test_a_damaged_memory_is_none(photos, decoded, damage):
    first = load(photos)
    (path,) = checked.folder().iterdir()
    path.write_text(damage(path.read_text()), encoding="latin-1")
    assert load(photos) == first and len(decoded) == 12
    assert load(photos) == first and len(decoded) == 12


def test_a_home_that_cannot_be_written(photos, decoded, monkeypatch):
    monkeypatch.setattr(checked, "folder", lambda: photos / "cat" / "1.png" / "checked")
    assert load(photos) == load(photos) and len(decoded) == 12


def test_links_in_a_circle_end(photos, decoded):
    (photos / "cat" / "again").symlink_to(photos / "cat")
    (photos / "cat" / "round").symlink_to(photos)
    states = list(checked._below(photos))
    assert len(states) == len({state[0] for state in states}) == 6


def test_what_is_drawn_is_not_remembered():
    datasets.load("toy:5")
    assert checked.of("toy:5", "toy", datasets.load("toy:5", check=False), ()) is None


def test_trusted_samples_stay(photos):
    found = datasets.load(photos, max_bad=0.5, trusted={"dog/3"})
    assert "dog/3" in [sample.name for sample in found.samples] and not found.bad


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text(photos, decoded):
    (photos / "dog" / "3.png").rename(os.fsdecode(os.fsencode(photos / "dog") + b"/\xff.png"))
    first = load(photos)
    assert [one.name for one in first[1]] == ["dog/?"]
    assert load(photos) == first and len(decoded) == 6


def test_labels_outside_are_looked_at_again(tmp_path, monkeypatch, draw):
    monkeypatch.setattr(checked, "folder", lambda: tmp_path / "home")
    for name in "ab":
        draw(tmp_path / f"photos/images/{name}.jpg")
        (tmp_path / "photos/labels").mkdir(exist_ok=True)
        (tmp_path / f"photos/labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.2")
    yaml = tmp_path / "set/data.yaml"
    yaml.parent.mkdir()
    yaml.write_text("train: ../photos/images\nnames: [cat]\n")
    label = tmp_path / "photos/labels/b.txt"
    label.write_text("7 0.5 0.5 0.2 0.2")
    assert len(datasets.load(yaml, allow_outside=True, max_bad=0.5).bad) == 1
    label.write_text("0 0.5 0.5 0.2 0.2")
    os.utime(label, ns=(1, 1))
    assert not datasets.load(yaml, allow_outside=True).bad

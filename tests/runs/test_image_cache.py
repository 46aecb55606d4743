"""Where decoded images go, by what they need and what is free."""

import pytest

from kerastransfer.data import datasets
from kerastransfer.data.decoded import decode
from kerastransfer.errors import UserError
from kerastransfer.runs import image_cache

GB = 10**9


@pytest.fixture
def free(monkeypatch):
    def of(memory, disk):
        monkeypatch.setattr(image_cache, "free_memory", lambda: memory)
        monkeypatch.setattr(image_cache, "free_disk", lambda folder: disk)

    return of


@pytest.mark.parametrize("fields", [("boxes",), ("segmentation",), ("boxes", "masks"), ("boxes", "segmentation")])
def test_what_is_needed_is_what_is_kept(fields):
    data = datasets.load("toy:20", check=False)
    arrays = decode(data, fields, (32, 32)).arrays
    large = sum(arrays[name].nbytes for name in ("image", "segmentation") if name in arrays)
    large += arrays["masks"].values.nbytes if "masks" in arrays else 0
    assert image_cache.needed(data, fields, 32) == pytest.approx(large, rel=1e-4)


@pytest.mark.parametrize(
    ("memory", "disk", "where", "words"),
    [
        (8 * GB, 0, "memory", None),
        (None, 0, "memory", None),
        (
            6 * GB,
            9 * GB,
            "disk",
            "decoded images take 4.0 GB, and 6.0 GB of memory are free; they are kept on the disk",
        ),
        (6 * GB, 4 * GB, "none", "6.0 GB of memory are free, 4.0 GB of the disk; they are decoded while training"),
    ],
)
def test_auto_takes_the_first_with_room_and_says_so(free, tmp_path, memory, disk, where, words):
    free(memory, disk)
    chosen, told = image_cache.chosen("auto", 4 * GB, tmp_path)
    assert chosen == where and (words in told if words else told is None)


def test_features_need_images_that_are_kept(free, tmp_path):
    free(GB, GB)
    assert image_cache.chosen("auto", 4 * GB, tmp_path, kept=True)[0] == "disk"


def test_what_the_check_keeps_will_be_free(free, tmp_path):
    """It is given back as it is copied, so a first run chooses as one that recalls the check."""
    free(6 * GB, 9 * GB)
    assert image_cache.chosen("auto", 4 * GB, tmp_path)[0] == "disk"
    assert image_cache.chosen("auto", 4 * GB, tmp_path, held=2 * GB)[0] == "memory"
    with pytest.raises(UserError, match="--cache memory needs"):
        image_cache.chosen("memory", 7 * GB, tmp_path)
    assert image_cache.chosen("memory", 7 * GB, tmp_path, held=2 * GB)[0] == "memory"


def test_what_was_asked_for(free, tmp_path):
    free(5 * GB, 0)
    for cache in ("memory", "disk", "none"):
        assert image_cache.chosen(cache, 4 * GB, tmp_path) == (cache, None)
    with pytest.raises(UserError, match=r"--cache memory needs 6.0 GB .*, but 5.0 GB of memory are free; use --cache"):
        image_cache.chosen("memory", 6 * GB, tmp_path)


def test_a_container_has_a_limit_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "max").write_text("3000\n")
    (tmp_path / "current").write_text("1000\n")
    monkeypatch.setattr(image_cache, "CGROUPS", (tuple(str(tmp_path / name) for name in ("max", "current", "stat")),))
    assert image_cache.free_memory() == 2000
    # What was read of files does not stand in the way.
    (tmp_path / "stat").write_text("anon 300\ninactive_file 500\nactive_file 100\n")
    assert image_cache.free_memory() == 2600
    (tmp_path / "stat").write_text("inactive_file 1\ntotal_inactive_file 500\ntotal_active_file 0\n")
    assert image_cache.free_memory() == 2500
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(image_cache, "_available", lambda: 7000)
    assert image_cache.free_memory() == 7000
    monkeypatch.setattr(image_cache, "_available", lambda: None)
    assert image_cache.free_memory() is None


def test_room_on_the_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    assert image_cache.free_disk(tmp_path / "a" / "b") > 0

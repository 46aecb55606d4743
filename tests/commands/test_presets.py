"""`presets`: what is listed, and what the cache is said to hold."""

import pytest
from console import code_of

from kerastransfer.presets import PRESETS, download


@pytest.fixture
def listed(monkeypatch, tmp_path, capsys):
    """A function that gives the rows: {name: [MB, trained on, licence, in the cache]}."""
    monkeypatch.setenv("KERASTRANSFER_HOME", str(tmp_path))
    # Of the console, which would break lines.
    monkeypatch.setenv("COLUMNS", "150")

    def rows():
        assert code_of(["presets"]) == 0
        told = capsys.readouterr().out
        assert f"cache: {tmp_path}" in told
        cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in told.splitlines() if line[:1] == "│"]
        return {name: rest for name, *rest in cells}

    return rows


def test_presets_are_listed_with_size_and_licence(listed):
    rows = listed()
    assert list(rows) == list(PRESETS)
    assert rows["yolov3-tiny"] == ["35.4", "COCO boxes, 416 px", "Darknet's, public domain", "no"]
    assert rows["mobilenet-v2"] == ["", "ImageNet classes, 224 px", "Keras's, Apache 2.0", "Keras's"]


def test_what_is_in_the_cache_is_told(listed):
    """yolo-fastest-1.1-xl needs two files, of their sizes."""
    weights, cfg = PRESETS["yolo-fastest-1.1-xl"].files
    download.cached(cfg).parent.mkdir(parents=True)
    for file, size, told in ((weights, weights.size, "no"), (cfg, cfg.size - 1, "no"), (cfg, cfg.size, "yes")):
        with download.cached(file).open("wb") as cached:
            cached.truncate(size)
        rows = listed()
        assert rows["yolo-fastest-1.1-xl"][-1] == told
        assert rows["yolov3-tiny"][-1] == "no"

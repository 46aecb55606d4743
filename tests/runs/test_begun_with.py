"""A run that is resumed must find the images that it began with."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from kerastransfer.errors import UserError
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.settings import CommonConfig


@pytest.fixture
def config(tmp_path):
    for number in range(10):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 9, 3), number, np.uint8)).save(path)
    config = CommonConfig(data=str(tmp_path / "photos"), output=str(tmp_path / "run"), quiet=True)
    RunFolder("classifier", config).close()
    load_data(config, "label")
    return dataclasses.replace(config, resume=True)


def test_the_same_data_go_on(config, tmp_path):
    load_data(config, "label")
    stored = json.loads((tmp_path / "run" / "data.json").read_text())
    assert len(stored[config.data]) == 10


def test_images_that_are_gone_or_new(config, tmp_path):
    (tmp_path / "photos/cat/2.png").rename(tmp_path / "photos/cat/99.png")
    (tmp_path / "photos/dog/3.png").unlink()
    words = (
        r"has changed since the run began: of its images, 2 are gone \(cat/2, dog/3\) and 1 is new \(cat/99\); put it "
        r"back, or start again with --overwrite \(to go on anyway, remove .*data.json\)"
    )
    with pytest.raises(UserError, match=words):
        load_data(config, "label")
    (tmp_path / "run" / "data.json").unlink()
    assert len(load_data(config, "label").dataset) == 9


def test_a_photo_that_was_damaged_since_stays_in_its_place(config, tmp_path):
    names = [[sample.name for sample in part] for part in load_data(config, "label").parts["label"]]
    (tmp_path / "photos/cat/2.png").write_bytes(b"damaged")
    again = load_data(config, "label")
    assert [[sample.name for sample in part] for part in again.parts["label"]] == names
    fresh = dataclasses.replace(config, resume=False, output=None, max_bad=0.5)
    assert len(load_data(fresh, "label").dataset) == 9


def test_a_failed_start_leaves_nothing(tmp_path, config):
    new = dataclasses.replace(config, resume=False, output=str(tmp_path / "other"))
    with pytest.raises(UserError, match="later"), RunFolder("classifier", new):
        load_data(new, "label")
        raise UserError("later")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("worker", "written"), [(0, True), (1, False)])
def test_only_the_first_worker_writes(tmp_path, config, monkeypatch, worker, written):
    from kerastransfer.training import strategy

    monkeypatch.setattr(strategy, "worker", lambda name: (worker, 2))
    (tmp_path / "other").mkdir()
    new = dataclasses.replace(config, resume=False, output=str(tmp_path / "other"), strategy="multi_worker")
    assert len(load_data(new, "label").dataset) == 10
    assert (tmp_path / "other" / "data.json").exists() == written

"""A page over several seeds or other settings, end to end but for the training."""

import json

import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.export.parity import ParityError
from kerastransfer.runs import grid
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome

AP50 = {0: 0.5, 1: 0.7, 2: 0.9}
# Of the two test images.
IOU = {0: (0.2, 0.4), 1: (0.4, 0.6), 2: (0.6, 0.8)}


def page(trained=None, failing=(), exported=()):
    """A recipe's `once` whose models have known scores for each seed. trained: gets the seed of each training."""

    def once(config, run):
        result = Outcome(config, run, load_data(config, "boxes", "segmentation"), "A page.")

        def train():
            if config.seed in failing:
                raise UserError("cannot be trained")
            if trained is not None:
                trained.append(config.seed)
            run.append_history({"phase": "training", "epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2))
            return {}

        run.phase("training", train)
        detector = {"AP50": AP50[config.seed], "AP50/disc": 0.1, "AP_large": np.nan}
        result.add("detector", detector, {}, "AP50", None).exported = list(exported)
        for name, drop in (("unet", 0.0), ("segnet", 0.1)):
            per_image = {f"image{n}": value - drop for n, value in enumerate(IOU[config.seed])}
            metrics = {"iou_mean": np.mean(list(per_image.values())), "images": 2}
            result.add(name, metrics, per_image, "iou_mean", "IoU", "subject" if name == "unet" else "control")
        result.compare("unet", "segnet")
        return result

    return once


@pytest.fixture
def no_pages(monkeypatch):
    """Reports take a second or two each."""
    monkeypatch.setattr(grid.reporting, "write", lambda outcome: None)
    monkeypatch.setattr(grid.reporting, "write_over_seeds", lambda *arguments: None)


def test_one_seed(config, tmp_path, capsys, text_of):
    results = grid.over_seeds("page", config(tmp_path / "run"), page())
    assert results["detector"]["AP50"] == 0.5 and results["unet"]["iou_mean"] == pytest.approx(0.3)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["recipe"] == "page" and metrics["seed"] == 0 and "seeds" not in metrics
    assert metrics["results"]["segnet"] == {"iou_mean": pytest.approx(0.2), "images": 2}
    assert metrics["results"]["detector"]["AP_large"] is None
    assert capsys.readouterr().out.splitlines()[1:] == [
        "detector                 AP50 0.500",
        "unet                     iou_mean 0.300",
        "segnet                   iou_mean 0.200",
        f"report: {tmp_path / 'run/report.html'}",
    ]
    text = text_of(tmp_path / "run/report.html")
    assert "0.500" in text and "seeds" not in text.partition("All settings")[0]


@pytest.mark.slow
def test_several_seeds_have_a_mean_and_a_spread(config, tmp_path, capsys, text_of):
    results = grid.over_seeds("page", config(tmp_path / "run", seeds=(0, 1, 2)), page())
    assert results["detector"]["AP50"] == pytest.approx(0.7)
    assert results["detector"]["AP50_spread"] == pytest.approx(0.2)
    assert results["unet"]["iou_mean"] == pytest.approx(0.5)
    assert results["unet"]["iou_mean_spread"] == pytest.approx(0.2)
    assert results["detector"]["AP50/disc"] == pytest.approx(0.1)
    assert results["detector"]["AP50/disc_spread"] == pytest.approx(0)
    assert np.isnan(results["detector"]["AP_large"])

    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["seeds"] == [0, 1, 2] and "seed" not in metrics
    assert metrics["results"]["unet"]["iou_mean_spread"] == pytest.approx(0.2)
    for seed in (0, 1, 2):
        alone = json.loads((tmp_path / f"run/seed{seed}/metrics.json").read_text())
        assert alone["seed"] == seed and alone["results"]["detector"]["AP50"] == AP50[seed]
        assert (tmp_path / f"run/seed{seed}/report.html").exists()
        assert f"seed = {seed}\n" in (tmp_path / f"run/seed{seed}/config.toml").read_text()
    assert "seeds = [0, 1, 2]" in (tmp_path / "run/config.toml").read_text()
    written = json.loads((tmp_path / "run/grid.json").read_text())
    assert written == {"axes": {"seed": [0, 1, 2]}, "cells": ["seed0", "seed1", "seed2"]}

    assert capsys.readouterr().out.splitlines()[1:] == [
        "detector                 AP50 0.700 ± 0.200",
        "unet                     iou_mean 0.500 ± 0.200",
        "segnet                   iou_mean 0.400 ± 0.200",
        f"report: {tmp_path / 'run/report.html'}",
    ]
    text = text_of(tmp_path / "run/report.html")
    assert "Mean and standard deviation over seeds 0, 1, 2" in text
    assert "0.700" in text and "± 0.200 over seeds" in text
    # Images are compared by their means over the seeds: 0.1 apart, both of them.
    assert "+0.100" in text and "_spread" not in text.partition("All settings")[0]
    assert "training, seed 2" in text


def test_a_single_seed_of_several_has_no_spread(no_pages, config, tmp_path, capsys):
    results = grid.over_seeds("page", config(tmp_path / "run", seeds=(1,)), page())
    assert results["detector"]["AP50"] == 0.7 and np.isnan(results["detector"]["AP50_spread"])
    assert "±" not in capsys.readouterr().out


def test_a_resumed_grid_trains_only_what_is_missing(no_pages, config, tmp_path):
    trained = []
    with pytest.raises(UserError, match="cannot be trained"):
        grid.over_seeds("page", config(tmp_path / "run", seeds=(0, 1, 2)), page(trained, failing=[1]))
    assert trained == [0] and not (tmp_path / "run/metrics.json").exists()
    again = config(tmp_path / "run", seeds=(0, 1, 2), resume=True)
    results = grid.over_seeds("page", again, page(trained))
    assert trained == [0, 1, 2]
    assert results["detector"]["AP50"] == pytest.approx(0.7)
    assert grid.over_seeds("page", again, page(trained))["unet"] == results["unet"]
    assert trained == [0, 1, 2]


def test_overwrite_removes_the_cells_of_before(no_pages, config, tmp_path):
    grid.over_seeds("page", config(tmp_path / "run", seeds=(0, 1, 2)), page())
    grid.over_seeds("page", config(tmp_path / "run", seeds=(1,), overwrite=True), page())
    assert [path.name for path in (tmp_path / "run").glob("seed*")] == ["seed1"]
    assert json.loads((tmp_path / "run/metrics.json").read_text())["seeds"] == [1]
    grid.over_seeds("page", config(tmp_path / "run", overwrite=True), page())
    assert not list((tmp_path / "run").glob("seed*")) and not (tmp_path / "run/grid.json").exists()


def test_a_grid_that_fails_before_it_has_trained_leaves_no_folder(config, tmp_path):
    with pytest.raises(UserError, match="cannot be trained"):
        grid.over_seeds("page", config(tmp_path / "run", seeds=(0, 1)), page(failing=[0]))
    assert not (tmp_path / "run").exists()


def test_cells_of_two_axes(no_pages, config, tmp_path):
    given = config(tmp_path / "run")
    seen = []

    def once(cell, run):
        seen.append((cell.epochs, cell.seed, run.path.name))
        return page()(cell, run)

    with RunFolder("page", given) as run:
        found = grid.over("page", given, {"epochs": (3, 5), "seed": (0, 2)}, once, run)
    assert seen == [(e, s, f"epochs{e}_seed{s}") for e in (3, 5) for s in (0, 2)]
    assert {values: outcome.results["detector"]["AP50"] for values, outcome in found.items()} == {
        (epochs, seed): AP50[seed] for epochs in (3, 5) for seed in (0, 2)
    }
    cells = json.loads((tmp_path / "run/grid.json").read_text())["cells"]
    assert cells == ["epochs3_seed0", "epochs3_seed2", "epochs5_seed0", "epochs5_seed2"]
    assert all((tmp_path / "run" / cell / "metrics.json").exists() for cell in cells)


RECORD = {
    "path": "detector_int8.failed.tflite",
    "kind": "int8",
    "bytes": 1_000_000,
    "differences": {"scores": {"maximum": 0.9, "mean": 0.4}},
    "metric": {"keras": 0.5, "file": 0.1},
    "milliseconds": {"1": 2.0, "2": 1.5},
    "passed": False,
    "reason": "score 0.1000 where the Keras model has 0.5000 and a loss of 0.01 is allowed",
    "unpaired": None,
    "note": "",
}


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(), (0, 1)])
def test_a_failed_export_is_raised_once_everything_is_written(config, tmp_path, seeds, capsys, text_of):
    with pytest.raises(ParityError, match="and a loss of"):
        grid.over_seeds("page", config(tmp_path / "run", seeds=seeds), page(exported=[RECORD]))
    assert (tmp_path / "run/metrics.json").exists()
    text = text_of(tmp_path / "run/report.html")
    assert "detector_int8.failed.tflite" in text and "failed" in text and "and a loss of" in text
    where = tmp_path / "run" / ("seed*/tflite" if seeds else "tflite")
    assert capsys.readouterr().out.splitlines()[-1] == f"exported files: {where}"


def test_a_batch_that_the_workers_cannot_share(config, tmp_path, monkeypatch):
    from kerastransfer.training import strategy

    monkeypatch.setattr(strategy, "join", lambda name: None)
    monkeypatch.setattr(strategy, "worker", lambda name: (0, 3))
    monkeypatch.setattr(strategy, "parts", lambda name: 3)
    with pytest.raises(UserError, match="--batch-size 16 cannot be divided among 3 workers; try 18"):
        grid.over_seeds("page", config(tmp_path / "run"), page())
    assert not (tmp_path / "run").exists()


def test_mean_and_spread():
    each = [{"a": {"x": 1.0, "y": np.nan}}, {"a": {"x": 3.0, "y": 1.0}}]
    found = grid.mean_and_spread(each)
    assert found["a"]["x"] == 2 and found["a"]["x_spread"] == pytest.approx(2**0.5)
    assert np.isnan(found["a"]["y"])

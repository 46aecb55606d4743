"""A run's folder: who may have it, what is kept of it, and what a kill leaves."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kerastransfer import files
from kerastransfer.errors import UserError
from kerastransfer.runs import settings
from kerastransfer.runs.folder import RunFolder, default_output


@dataclasses.dataclass
class Config(settings.CommonConfig):
    epochs: int = 2


def config(folder, **values):
    return Config(output=str(folder), **values)


def finished_run(folder, **values):
    """A folder as a run leaves it."""
    with RunFolder("detector", config(folder, **values)) as run:
        run.finish_phase("training", {"ap50": 0.5}, 1.0)
        run.append_history([{"phase": "training", "epoch": 0, "loss": 1.0}])
        files.write_text(run.models / "detector.keras", "weights")
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder_gets_the_settings_that_repeat_the_run(tmp_path):
    ours = config(tmp_path / "deep" / "run", epochs=7, seeds=(1, 2))
    with RunFolder("detector", ours) as run:
        assert settings.read(Config, run.path / "config.toml") == ours
        assert "kerastransfer.recipes.detector" in (run.path / "config.toml").read_text()


def test_an_empty_folder_will_do(tmp_path):
    RunFolder("detector", config(tmp_path)).close()


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(tmp_path):
    before = contents(finished_run(tmp_path))
    with pytest.raises(UserError, match=r"--resume.*--overwrite.*--output"):
        RunFolder("detector", config(tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("values", "told"),
    [({}, "not from a run"), ({"resume": True}, "no run to resume"), ({"overwrite": True}, "not from a run")],
)
@pytest.mark.parametrize("name", ["thesis.tex", "config.toml"])
def test_a_folder_that_is_not_a_runs_is_always_refused(tmp_path, values, told, name):
    (tmp_path / name).write_text("mine = true\n")
    with pytest.raises(UserError, match=told):
        RunFolder("detector", config(tmp_path, **values))
    assert contents(tmp_path) == {name: b"mine = true\n"}


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="is a file"):
        RunFolder("detector", config(tmp_path / "run"))


def test_overwrite_removes_what_the_run_made_and_nothing_else(tmp_path):
    finished_run(tmp_path)
    (tmp_path / "notes.txt").write_text("keep me")
    with RunFolder("detector", config(tmp_path, overwrite=True, epochs=9)) as run:
        assert not run.phases
        assert not run.history()
        assert settings.read(Config, run.path / "config.toml").epochs == 9
    assert set(contents(tmp_path)) == {"notes.txt", "config.toml", ".lock"}


def test_overwrite_clears_the_runs_of_the_seeds(tmp_path):
    """Of version 0.1, which wrote no grid.json."""
    finished_run(tmp_path)
    finished_run(tmp_path / "seed0")
    finished_run(tmp_path / "seed1")
    (tmp_path / "seed1" / "notes.txt").write_text("keep me")
    RunFolder("detector", config(tmp_path, overwrite=True)).close()
    assert set(contents(tmp_path)) == {
        "config.toml",
        ".lock",
        *(f"seed1/{name}" for name in ("notes.txt", "config.toml", ".lock")),
    }


def test_overwrite_clears_the_cells_of_a_grid_and_no_other_folder(tmp_path):
    finished_run(tmp_path)
    for name in ("model1_seed0", "model2_seed0", "mine", "seed7"):
        finished_run(tmp_path / name)
    files.write_json(tmp_path / "grid.json", {"axes": {}, "cells": ["model1_seed0", "model2_seed0", "gone"]})
    RunFolder("detector", config(tmp_path, overwrite=True)).close()
    assert {path.name for path in tmp_path.iterdir()} == {"config.toml", ".lock", "mine", "seed7"}
    assert (tmp_path / "mine" / "phases.json").exists()


def test_resume_finds_the_finished_phases(tmp_path):
    finished_run(tmp_path)
    with RunFolder("detector", config(tmp_path, resume=True, quiet=True)) as run:
        assert run.phase("training", lambda: pytest.fail("trained again")) == {"ap50": 0.5}
        assert (run.models / "detector.keras").exists()


@pytest.mark.parametrize("there", [False, True])
def test_there_is_nothing_to_resume(tmp_path, there):
    """It would train with all defaults, on drawn scenes."""
    folder = tmp_path / "new"
    if there:
        folder.mkdir()
    with pytest.raises(UserError, match="has no run to resume; leave out --resume"):
        RunFolder("detector", config(folder, resume=True))
    assert folder.exists() == there and not list(tmp_path.glob("new/*"))


def test_resume_with_other_settings_is_refused_and_names_them(tmp_path):
    finished_run(tmp_path, epochs=2)
    with pytest.raises(UserError, match=r"--epochs 3 \(was 2\).*--config .*config.toml --resume") as caught:
        RunFolder("detector", config(tmp_path, resume=True, epochs=3, precision="bfloat16"))
    assert "--precision bfloat16 (was auto)" in str(caught.value)


def test_a_run_of_version_0_1_is_not_resumed(tmp_path):
    """Its settings have names that are unknown now."""
    header = "# kerastransfer 0.1.0: python -m kerastransfer.recipes.detector --config config.toml\n"
    (tmp_path / "config.toml").write_text(f"{header}weight_decay = 0.01\n")
    with pytest.raises(
        UserError, match=r"a run of version 0\.1, which cannot be resumed.*another --output.*models, as"
    ):
        RunFolder("detector", config(tmp_path, resume=True))


def test_a_run_of_another_recipe_is_not_resumed(tmp_path):
    finished_run(tmp_path)
    with pytest.raises(UserError, match=r"another recipe .*recipes\.detector"):
        RunFolder("detect", config(tmp_path, resume=True))


def test_resume_from_the_stored_file_needs_no_other_flag(tmp_path):
    finished_run(tmp_path, epochs=5)
    again = settings.parse(Config, ["--config", str(tmp_path / "config.toml"), "--resume"])
    RunFolder("detector", again).close()


def test_resume_clears_what_a_killed_write_left(tmp_path):
    finished_run(tmp_path)
    torn = tmp_path / "models" / ".detector.0123abcd.tmp.keras"
    torn.write_text("half")
    (tmp_path / "saved_model" / ".detector.0123abcd.tmp" / "variables").mkdir(parents=True)
    (tmp_path / "saved_model" / ".detector.0123abcd.old").mkdir()
    mine = tmp_path / ".mine.tmp"
    mine.write_text("not the package's form of name")
    RunFolder("detector", config(tmp_path, resume=True)).close()
    assert not torn.exists()
    assert not list((tmp_path / "saved_model").iterdir())
    assert mine.exists()


def test_a_folder_with_only_a_torn_first_write_counts_as_empty(tmp_path):
    (tmp_path / ".config.0123abcd.tmp.toml").write_text("# keras")
    (tmp_path / ".lock").write_text("123")
    RunFolder("detector", config(tmp_path)).close()


def test_a_result_is_the_same_before_and_after_a_resume(tmp_path):
    work = {"iou": 0.1 + 0.2, "per_image": (1, 2), "missing": float("nan")}
    with RunFolder("detector", config(tmp_path)) as run:
        first = run.phase("decoder", lambda: work)
        assert first == run.phase("decoder", lambda: pytest.fail("trained again"))
    assert first == {"iou": 0.1 + 0.2, "per_image": [1, 2], "missing": None}


def test_a_phase_that_fails_is_not_finished(tmp_path):
    with RunFolder("detector", config(tmp_path)) as run:
        with pytest.raises(ZeroDivisionError):
            run.phase("training", lambda: 1 / 0)
        assert run.phases == {}


@pytest.mark.parametrize("values", [{}, {"seeds": (0, 1)}])
def test_a_run_that_fails_before_it_has_trained_leaves_no_folder(tmp_path, values):
    folder = tmp_path / "deep" / "run"
    with pytest.raises(ZeroDivisionError), RunFolder("detector", config(folder, **values)):
        1 / 0  # noqa: B018
    assert not folder.exists()


def test_a_run_that_fails_later_keeps_what_it_has(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder("detector", config(tmp_path)) as run:
        run.finish_phase("training", {})
        1 / 0  # noqa: B018
    assert {"config.toml", "phases.json"} <= set(contents(tmp_path))


def test_a_failure_of_a_resumed_or_a_cleared_run_leaves_its_settings(tmp_path):
    for how in ("resume", "overwrite"):
        finished_run(tmp_path / how)
        with pytest.raises(ZeroDivisionError), RunFolder("detector", config(tmp_path / how, **{how: True})):
            1 / 0  # noqa: B018
        assert (tmp_path / how / "config.toml").exists()


def test_someone_elses_file_in_a_new_folder_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder("detector", config(tmp_path)):
        (tmp_path / "notes.txt").write_text("keep me")
        1 / 0  # noqa: B018
    assert "notes.txt" in contents(tmp_path)


def test_damaged_phases_are_reported(tmp_path):
    finished_run(tmp_path)
    (tmp_path / "phases.json").write_text('{"training": {')
    with pytest.raises(UserError, match="--overwrite"):
        RunFolder("detector", config(tmp_path, resume=True))
    # The failed one holds no lock.
    RunFolder("detector", config(tmp_path, overwrite=True)).close()


def test_history_has_a_row_per_phase_and_epoch_and_columns_as_they_come(tmp_path):
    with RunFolder("detector", config(tmp_path)) as run:
        run.append_history([{"phase": "detector", "epoch": epoch, "loss": 2.0 - epoch} for epoch in range(2)])
        run.append_history([{"phase": "unet", "epoch": 0, "loss": 0.7, "iou": 0.1}])
        assert (run.path / "history.csv").read_text().splitlines() == [
            "phase,epoch,loss,iou",
            "detector,0,2.0,",
            "detector,1,1.0,",
            "unet,0,0.7,0.1",
        ]
        assert run.history()[0] == {"phase": "detector", "epoch": "0", "loss": "2.0"}


def test_history_of_repeated_epochs_replaces_them(tmp_path):
    with RunFolder("detector", config(tmp_path)) as run:
        run.append_history([{"phase": "unet", "epoch": 3, "loss": 5}])
        run.append_history([{"phase": "detector", "epoch": epoch, "loss": epoch} for epoch in range(4)])
        run.append_history([{"phase": "detector", "epoch": 2, "loss": 20}])
        rows = [(row["phase"], row["epoch"], row["loss"]) for row in run.history()]
    assert rows == [("unet", "3", "5"), ("detector", "0", "0"), ("detector", "1", "1"), ("detector", "2", "20")]


def test_metrics_have_the_form_of_the_contract(tmp_path):
    with RunFolder("detector", config(tmp_path / "one", seed=4)) as run:
        run.finish_phase("training", {}, 2.5)
        run.write_metrics({"yolov1": {"ap50": 0.9}})
        assert json.loads((run.path / "metrics.json").read_text()) == {
            "recipe": "detector",
            "data": "toy",
            "seed": 4,
            "results": {"yolov1": {"ap50": 0.9}},
            "seconds": {"training": 2.5},
        }
    with RunFolder("detector", config(tmp_path / "two", seeds=(0, 1))) as run:
        run.write_metrics({})
        metrics = json.loads((run.path / "metrics.json").read_text())
        assert metrics["seeds"] == [0, 1]
        assert "seed" not in metrics


@pytest.mark.parametrize(
    ("data", "folder"),
    [
        ("toy", "detector-toy"),
        ("tfds:oxford_iiit_pet", "detector-oxford_iiit_pet"),
        ("tfds:voc/2007", "detector-voc-2007"),
        ("/data/PennFudanPed/", "detector-PennFudanPed"),
        ("/data/my photos", "detector-my-photos"),
    ],
)
def test_the_default_folder_is_named_for_recipe_and_data(data, folder):
    assert default_output("detector", data) == f"saved_models/{folder}"


def test_the_default_folder_of_a_file_drops_its_suffix(tmp_path, monkeypatch):
    (tmp_path / "instances_val.json").write_text("{}")
    assert default_output("detector", str(tmp_path / "instances_val.json")).endswith("detector-instances_val")
    (tmp_path / "v1.2").mkdir()
    monkeypatch.chdir(tmp_path / "v1.2")
    assert default_output("detector", ".").endswith("detector-v1.2")


HOLD = textwrap.dedent("""
    import sys, time
    from kerastransfer.runs import settings
    from kerastransfer.runs.folder import RunFolder
    run = RunFolder("detector", settings.CommonConfig(output=sys.argv[1]))
    print("ours", flush=True)
    time.sleep(60)
""")


def test_one_process_at_a_time_and_none_after_a_kill(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ours\n"
        for how in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(UserError, match=f"in use by process {other.pid}"):
                RunFolder("detector", settings.CommonConfig(output=str(tmp_path), **how))
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    RunFolder("detector", settings.CommonConfig(output=str(tmp_path), resume=True)).close()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder("detector", config(tmp_path / "file" / "run"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands in for a full disk")
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch):
    with RunFolder("detector", config(tmp_path)) as run:
        run.finish_phase("detector", {"ap50": 0.5})
        write = Path.write_text
        monkeypatch.setattr(Path, "write_text", lambda path, *rest, **more: write(Path("/dev/full"), *rest, **more))
        with pytest.raises(UserError, match="the disk is full"):
            run.finish_phase("unet", {})
        monkeypatch.undo()
        assert set(run.phases) == {"detector"}

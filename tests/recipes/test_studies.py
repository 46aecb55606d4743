"""Studies of two models, from data to report, on small drawn scenes; and input that cannot work."""

import json
import re

import pytest

from kerastransfer.analysis.studies import STUDIES
from kerastransfer.recipes import analyse, pretraining
from kerastransfer.runs import command_line

SMALL = ["--data", "toy:40", "--image-size", "32", "--batch-size", "8", "--quiet", "--precision", "float32"]
SMALL += ["--encoder", "small", "--pretext-epochs", "1"]
CLUSTERS = ["--co-assignment.clusters", "2", "5"]
SMALL += ["--embedding.perplexity", "4", "--mask-out.images", "2", "--mask-out.stride", "64"]
SHORT = ["--detector-epochs", "1", "--decoder-epochs", "1", "--classifier-epochs", "1", "--decoder", "segnet"]
SHORT += ["--model", "small"]


def run(page, output, *flags):
    command_line.run(
        page.main,
        page.Config,
        [*SMALL, *([] if CLUSTERS[0] in flags else CLUSTERS), "--output", str(output), *map(str, flags)],
    )
    return output


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    return run(pretraining, tmp_path_factory.mktemp("pretraining") / "run", *SHORT)


@pytest.mark.slow
def test_every_study_is_made(studied):
    phases = json.loads((studied / "phases.json").read_text())
    made = {name: phases[f"study_{name}"]["result"] for name in STUDIES}
    assert {name for name, found in made.items() if "left_out" in found} == set()
    page = (studied / "report.html").read_text()
    for name, module in STUDIES.items():
        assert module.TITLE in page, name
    figures = {f"{figure['stem']}.png" for found in made.values() for figure in found["figures"]}
    assert figures <= {path.name for path in (studied / "figures").iterdir()}


@pytest.mark.slow
def test_each_claim_is_measured_and_judged(studied):
    claims = json.loads((studied / "claims.json").read_text())
    assert {"detection", "occlusion", "segmentation", "trimap", "classification", "probes"} <= {
        claim["study"] for claim in claims
    }
    for claim in claims:
        if claim["low"] is not None:
            assert claim["low"] <= claim["value"] <= claim["high"], claim
            assert claim["held"] == (True if claim["low"] > 0 else False if claim["high"] <= 0 else None), claim
    assert "claim of the paper" in (studied / "report.html").read_text()


@pytest.mark.slow
def test_both_pre_trainings_took_as_many_steps_on_the_same_images(studied):
    rows = [row.split(",") for row in (studied / "history.csv").read_text().splitlines()]
    epochs = {name: [row for row in rows if row[0] == name] for name in ("detection", "classification")}
    assert len(epochs["detection"]) == len(epochs["classification"]) == 1
    report = json.loads((studied / "transfer_report.json").read_text())
    for task in ("boxes", "segmentation", "label"):
        for name in ("detection", "classification"):
            assert report[f"{name}_{task}"]["source"].endswith(f"models/{name}.keras")
            assert report[f"{name}_{task}"]["copied"]


@pytest.mark.slow
def test_whole_models_of_one_task_are_compared(studied, tmp_path):
    models = [studied / f"models/{name}_label.keras" for name in ("detection", "classification")]
    run(analyse, tmp_path / "run", "--models", *models, "--study", "classification", "co_assignment")
    found = json.loads((tmp_path / "run/phases.json").read_text())
    assert {name for name in found if name.startswith("study")} == {"study_classification", "study_co_assignment"}
    whole = json.loads((studied / "phases.json").read_text())["study_classification"]["result"]
    again = found["study_classification"]["result"]
    assert [*again["numbers"].values()] == [*whole["numbers"].values()]


@pytest.mark.slow
def test_a_study_that_is_asked_for_is_not_left_out_without_a_word(studied, tmp_path, capsys):
    models = [studied / "models/detection.keras", studied / "models/classification.keras"]
    with pytest.raises(SystemExit):
        run(analyse, tmp_path / "run", "--models", *models, "--study", "trimap")
    assert "--study trimap needs models that this run does not have or train" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("page", "flags", "words"),
    [
        (analyse, ["--study", "trimaps"], "unknown --study trimaps.*nearest: trimap"),
        (analyse, ["--study", "trimap", "trimap"], "names a study twice"),
        (analyse, ["--study", "errors"], "--study errors needs models"),
        (pretraining, ["--study", "trimap", "--tasks", "label"], "--study trimap needs models"),
        (pretraining, ["--model", "retinanet", "--decoder", "segnet"], "a feature pyramid reads a map of stride 32"),
        (analyse, ["--image-size", "40"], "--image-size 40 is not a multiple of 16"),
        (analyse, ["--co-assignment.clusters", "1"], "--co-assignment.clusters is 1; give numbers of clusters from 2"),
        (analyse, ["--models", "yolov3-tiny"], "has 1 models; give two"),
        (analyse, ["--models", "yolov3-tiny", "yolov3-tiny"], "names a model twice"),
        (analyse, ["--models", "yolov3-tiny", "nowhere.keras"], "--models nowhere.keras: no such file"),
        (analyse, ["--pretexts", "detection"], "give two different ones"),
        (analyse, ["--pretexts", "detection", "guessing"], "unknown --pretext guessing"),
        (pretraining, ["--tasks", "boxes", "depth"], "unknown --tasks depth"),
        (pretraining, [*SHORT, "--model", "yolov3-small"], "has an encoder of its own"),
        (pretraining, ["--decoder", "deeplap"], "unknown --decoder deeplap"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(page, flags, words, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(page, tmp_path / "run", *flags)
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()

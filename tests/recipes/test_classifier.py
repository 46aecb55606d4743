"""A classifier from data to report, on small coloured pictures; and input that cannot work."""

import json

import numpy as np
import PIL.Image
import pytest

from kerastransfer.data import datasets, splits
from kerastransfer.recipes import classifier
from kerastransfer.runs import command_line, trained
from kerastransfer.tasks import classification
from kerastransfer.training import transfer

SMALL = ["--image-size", "32", "--batch-size", "4", "--classifier-epochs", "2", "--precision", "float32", "--quiet"]
COLOURS = {"blue": (30, 40, 200), "green": (30, 200, 40), "red": (200, 40, 30)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder for each class: a colour under noise."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for number in range(10):
            noise = rng.normal(0, 25, (40, 36, 3))
            picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            PIL.Image.fromarray(picture).save(folder / name / f"{number}.png")
    return folder


def run(*flags):
    command_line.run(classifier.main, classifier.Config, [*SMALL, *map(str, flags)])


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "run"
    run("--data", pictures, "--no-export", "--output", folder)
    return folder


@pytest.mark.slow
def test_the_kept_model_has_the_scores_that_were_written(finished, pictures):
    predictor = trained.open_predictor(finished / "models/classifier.keras")
    assert predictor.about.task == "classification" and predictor.about.labels == tuple(COLOURS)
    _, test = splits.split(datasets.load(str(pictures)), "every_fifth", ("label",))
    scores = classification.score(predictor.predict, test, predictor.about.labels).metrics
    written = json.loads((finished / "metrics.json").read_text())["results"]["classifier"]
    assert written == pytest.approx(scores)
    kept = json.loads((finished / "predictions/classifier.json").read_text())
    assert len(kept) == len(test) == scores["images"] == 6
    right = [max(one["scores"], key=one["scores"].get) == one["label"] for one in kept]
    assert np.mean(right) == pytest.approx(scores["top1"])


@pytest.mark.slow
def test_the_page_shows_what_it_says_and_what_it_confuses(finished):
    page = (finished / "report.html").read_text()
    assert "A classifier was trained from random weights." in page
    for words in ("top1 of classifier", "Predictions of classifier", "Confusions of classifier"):
        assert words in page, words
    assert {path.name for path in (finished / "figures").iterdir()} >= {
        *("classes_classifier.png", "confusion_classifier.png", "curves.png")
    }


@pytest.mark.slow
def test_a_frozen_encoder_is_kept_as_it_was(finished, pictures, tmp_path):
    encoder = finished / "models/encoder.keras"
    run("--data", pictures, "--no-export", "--output", tmp_path / "run", "--encoder", encoder, "--freeze", "full")
    sums = {transfer.checksum(trained.encoder(path)) for path in (encoder, tmp_path / "run/models/classifier.keras")}
    assert len(sums) == 1
    report = json.loads((tmp_path / "run/transfer_report.json").read_text())["classifier"]
    assert report["moved"] == [] and report["source"] == str(encoder) and len(report["copied"]) > 10


BAD = {
    "random weights that stay": (["--freeze", "full"], "would freeze an encoder with random weights; give --encoder"),
    "an encoder that is missing": (["--encoder", "nowhere.keras"], "nowhere.keras: no such file"),
    "a size that the stride does not divide": (["--image-size", "40"], "40 is not a multiple of 16"),
    "smoothing everything": (["--smoothing", "1"], "--smoothing is 1.0; it must be at least 0 and below 1"),
    "a net of another kind": (["--model", "yolov3-tiny"], "invalid choice"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_no_folder(case, pictures, tmp_path, capsys):
    flags, words = BAD[case]
    with pytest.raises(SystemExit) as stopped:
        run("--data", pictures, "--output", tmp_path / "run", *flags)
    assert stopped.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_data_without_classes_of_images(tmp_path, capsys):
    for number in range(6):
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    with pytest.raises(SystemExit) as stopped:
        run("--data", tmp_path, "--output", tmp_path / "run")
    assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_images_of_one_class_teach_nothing(tmp_path, capsys):
    """The class of an image follows from its boxes here."""
    with pytest.raises(SystemExit) as stopped:
        run("--data", "toy:40", "--classes", "disc", "--output", tmp_path / "run")
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "a classifier needs two classes of images or more, and there is 1" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()

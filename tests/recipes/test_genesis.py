"""Models Genesis from volumes to report, in a small form; resuming; and input that cannot work."""

import csv
import json

import keras
import numpy as np
import pytest

from kerastransfer.recipes import genesis
from kerastransfer.runs import command_line
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome, Result

SMALL = (
    *("--width", "2", "--depth", "2", "--batch-size", "2", "--volumes", "2", "--shift", "1"),
    *("--pretext-epochs", "1", "--segmenter-epochs", "1", "--precision", "float32", "--quiet"),
)
CUBE = ("--cube", "4", "6", "4")
NAMES = ("random", "encoder_decoder", "encoder_only")


def run(*flags):
    command_line.run(genesis.main, genesis.Config, [*SMALL, *(() if "--cube" in flags else CUBE), *map(str, flags)])


@pytest.fixture
def folder(tmp_path):
    """Ten small volumes as .npy files: a bright box of one class and a dark one of another."""
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for number in range(10):
        rng = np.random.default_rng(number)
        labels = np.zeros((6, 7, 5), np.uint8)
        labels[1:4, 1:3, 1:4], labels[1:4, 4:6, 1:4] = 1, 2
        image = rng.normal(0, 0.1, labels.shape) + np.array([0, 1, -1])[labels]
        np.save(tmp_path / f"data/images/{number}.npy", image)
        np.save(tmp_path / f"data/labels/{number}.npy", labels)
    return tmp_path / "data"


@pytest.mark.slow
def test_from_volumes_to_report_and_back(folder, tmp_path, monkeypatch):
    """All scenarios; then the run is resumed, and nothing is trained again."""
    output = tmp_path / "run"
    run("--data", folder, "--no-export", "--output", output)
    assert {path.stem for path in (output / "models").glob("*.keras")} == {"genesis", "encoder", *NAMES}
    report = json.loads((output / "transfer_report.json").read_text())
    assert report["random"] == {"source": "random weights", "fresh": ["encoder", "decoder", "head"]}
    assert report["encoder_decoder"]["fresh"] == ["head"] and report["encoder_only"]["fresh"] == ["decoder", "head"]
    for part in ("encoder", "decoder"):
        assert report["encoder_decoder"][part]["copied"] and not report["encoder_decoder"][part]["fresh"]
    assert report["encoder_only"]["encoder"]["checksum"] == report["encoder_decoder"]["encoder"]["checksum"]
    with (output / "history.csv").open() as file:
        assert {row["phase"] for row in csv.DictReader(file)} == {"genesis", *NAMES}
    scores = json.loads((output / "predictions/random.json").read_text())
    assert list(scores) == ["4", "9"] and set(scores["4"]) == {"dice", "label 1", "label 2"}
    network = keras.saving.load_model(output / "models/encoder_only.keras")
    assert network(np.zeros((1, 4, 6, 4, 1), "float32")).shape == (1, 4, 6, 4, 3)
    described = json.loads((output / "models/encoder_only.json").read_text())
    assert described["labels"] == ["background", "label 1", "label 2"] and described["cube"] == [4, 6, 4]

    metrics = json.loads((output / "metrics.json").read_text())["results"]
    assert set(metrics) == set(NAMES) and {"dice_mean", "dice/label 2", "iou_mean"} <= set(metrics["random"])
    page = (output / "report.html").read_text()
    for words in (
        "learnt to restore 8 deformed volumes without labels",
        "trained on 2 labelled ones, and tested on 2 others",
        "Restored volumes",
        "Segmented volumes",
        "over test volumes",
        "encoder_decoder minus random",
        "Training",
    ):
        assert words in page, words
    figures = {path.name for path in (output / "figures").iterdir()}
    assert figures >= {"restored.png", "segmented.png", "curves.png", "dice.png", "paired.png"}

    def trained_again(*_, **__):
        raise AssertionError("a finished phase was repeated")

    monkeypatch.setattr("kerastransfer.runs.fitting.fit_on", trained_again)
    run("--data", folder, "--no-export", "--output", output, "--resume")
    assert json.loads((output / "metrics.json").read_text())["results"] == metrics


def test_differences_over_seeds_and_over_volumes():
    """By hand: three seeds with differences of 0.1, 0.2 and 0.3, and volumes that differ by 0.1 and 0.3 in the mean."""
    each = []
    for seed in range(3):
        gain = 0.1 * (seed + 1)
        models = {
            "random": Result({"dice_mean": 0.5}, "dice_mean", {"a": 0.4, "b": 0.6}, "Dice"),
            "encoder_only": Result({"dice_mean": 0.5 + gain}, "dice_mean", {"a": 0.3 + gain, "b": 0.7 + gain}, "Dice"),
        }
        each.append(Outcome(None, None, None, models=models, pairs=[("encoder_only", "random")]))
    ((label, (seeds, test)),) = genesis.differences(each).tables[0].rows
    assert label == "encoder_only minus random" and seeds.value == pytest.approx(0.2) == test.value
    half = 4.302653 * 0.1 / 3**0.5
    assert (seeds.low, seeds.high) == pytest.approx((0.2 - half, 0.2 + half))
    assert 0.1 - 1e-6 <= test.low <= test.high <= 0.3 + 1e-6 or np.isnan(test.low)


@pytest.mark.slow
def test_a_stopped_pretext_goes_on_where_it_was(folder, tmp_path):
    """The same weights as without the stop, to the last bit."""
    from kerastransfer.data import volumes
    from kerastransfer.phases import genesis as phase
    from kerastransfer.training import callbacks, transfer

    train, _ = volumes.split(volumes.load(folder))
    sums = []
    for name, stop in (("whole", False), ("stopped", True)):
        options = {"data": str(folder), "output": str(tmp_path / name), "width": 2, "depth": 2, "cube": (4, 6, 4)}
        config = genesis.Config(**options, batch_size=2, pretext_epochs=2, precision="float32", quiet=True)
        if stop:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(callbacks.checkpoint, "save", after(callbacks.checkpoint.save))
                with pytest.raises(KeyboardInterrupt), RunFolder("genesis", config) as run:
                    phase.pretext(config, run, train)
            config.resume = True
        with RunFolder("genesis", config) as run:
            path = phase.pretext(config, run, train)
            assert [row["epoch"] for row in run.history()] == ["1", "2"]
        sums.append(transfer.checksum(keras.saving.load_model(path)))
    assert sums[0] == sums[1]


def after(save):
    """`save`, and then Ctrl-C."""

    def stopping(*arguments, **options):
        save(*arguments, **options)
        raise KeyboardInterrupt

    return stopping


@pytest.mark.slow
def test_random_weights_alone_need_no_pretext(folder, tmp_path):
    """Over two seeds, with exported files."""
    run("--data", folder, "--scenarios", "random", "--seeds", "0", "1", "--output", tmp_path / "run")
    for seed in ("seed0", "seed1"):
        cell = tmp_path / "run" / seed
        assert {path.name for path in (cell / "models").glob("*.keras")} == {"random.keras"}
        assert [path.name for path in (cell / "tflite").iterdir()] == ["random.tflite"]
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["results"]
    assert {"dice_mean", "dice_mean_spread"} <= set(metrics["random"])
    page = (tmp_path / "run/report.html").read_text()
    assert "Only one was trained." in page and "Restored volumes" not in page


def spoil_with_nan(folder):
    image = np.load(folder / "images/3.npy")
    image[0, 0, 0] = np.nan
    np.save(folder / "images/3.npy", image)


def spoil_shape(folder):
    np.save(folder / "labels/3.npy", np.load(folder / "labels/3.npy")[1:])


def nothing(folder):
    pass


BAD = {
    "voxels that are NaN": (spoil_with_nan, [], "images/3.npy: 1 of 210 voxels are NaN or infinite"),
    "labels of another shape": (spoil_shape, [], "labels/3.npy has 5 x 7 x 5 voxels, but its image 6 x 7 x 5"),
    "more volumes than there are": (nothing, ["--volumes", "9"], "only 8 training volumes have labels"),
    "a cube that cannot be halved": (nothing, ["--cube", "4", "6", "5"], "--depth 2 needs three multiples of 2"),
    "a cube of two sides": (nothing, ["--cube", "4", "6"], "--cube is 4 6; --depth 2 needs three"),
    "spacing of arrays": (nothing, ["--spacing", "1", "1", "1"], "does not say how large its voxels are"),
    "spacing of two sides": (nothing, ["--spacing", "1", "1"], "give three sides in millimetres, such as 1 1 1"),
    "an unknown scenario": (nothing, ["--scenarios", "decoder"], "invalid choice"),
    "no scenario": (nothing, ["--scenarios"], "--scenarios is empty"),
    "a probability above 1": (nothing, ["--flip", "1.5"], "--flip is 1.5; give a probability, from 0 to 1"),
    "a shift below 0": (nothing, ["--shift", "-1"], "--shift is -1; it must be at least 0"),
    "pooling that TensorFlow lacks": (nothing, ["--precision", "float16"], "give bfloat16, which is as fast"),
    "a flag of images": (nothing, ["--image-size", "64"], "unknown '--image-size'"),
    "colours of images": (nothing, ["--colour", "0.1"], "unknown '--colour'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_no_folder(case, folder, tmp_path, capsys):
    spoil, flags, words = BAD[case]
    spoil(folder)
    with pytest.raises(SystemExit) as stopped:
        run("--data", folder, "--output", tmp_path / "run", *flags)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert words in " ".join(told.split())
    assert not (tmp_path / "run").exists()
    if "invalid choice" not in words:
        assert len(told.splitlines()) == 1


def test_with_several_seeds_no_folder_is_left_either(folder, tmp_path, capsys):
    spoil_with_nan(folder)
    with pytest.raises(SystemExit) as stopped:
        run("--data", folder, "--output", tmp_path / "run", "--seeds", "0", "1")
    assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_other_spacing_is_warned_of(tmp_path, capsys, monkeypatch):
    """Before anything is trained; the warning names the volume and the flag."""
    nibabel = pytest.importorskip("nibabel", reason="needs nibabel, the extra `volumes`")
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for number in range(10):
        matrix = np.diag([1, 1, 1 + (number == 3), 1])
        labels = rng.integers(0, 2, (4, 6, 4)).astype("uint8")
        for part, array in (("imagesTr", rng.random((4, 6, 4), "float32")), ("labelsTr", labels)):
            nibabel.save(nibabel.Nifti1Image(array, matrix), tmp_path / f"data/{part}/{number}.nii.gz")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kerastransfer.phases.genesis.pretext", stop)
    with pytest.raises(SystemExit):
        run("--data", tmp_path / "data", "--output", tmp_path / "run")
    told = capsys.readouterr().err
    assert "warning: voxels measure from 1 x 1 x 1 to 1 x 1 x 2 mm" in told and "--spacing 1 1 1 resamples" in told

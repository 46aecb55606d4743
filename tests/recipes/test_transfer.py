"""Pretexts, few masks and their comparison, from data to report, on small drawn scenes; and input that cannot work."""

import json

import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.phases.transfer_summary import cell
from kerastransfer.recipes import transfer_cka, transfer_compare, transfer_finetune, transfer_pretrain
from kerastransfer.runs import command_line, trained

SMALL = ["--data", "toy:30", "--image-size", "32", "--width", "4", "--batch-size", "4", "--quiet"]
SMALL += ["--precision", "float32", "--pretext-epochs", "1"]
FEW = ["--finetune-steps", "10", "--no-export"]


def run(page, output, *flags):
    command_line.run(page.main, page.Config, [*SMALL, "--output", str(output), *map(str, flags)])
    return output


def results(folder):
    return json.loads((folder / "metrics.json").read_text())["results"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison over two seeds."""
    flags = ["--pretexts", "reconstruction", "--labelled", "6", "--seeds", "0", "1", *FEW]
    return run(transfer_compare, tmp_path_factory.mktemp("transfer") / "run", *flags)


STARTS = ("random", "reconstruction_seg-enc", "reconstruction_seg-enc-dec")


@pytest.mark.slow
def test_every_cell_is_scored_and_compared(compared):
    found = results(compared)
    assert set(found) == {"reconstruction", *(cell(start, 6) for start in STARTS)}
    assert all({"dice_mean", "dice_mean_spread"} <= found[cell(start, 6)].keys() for start in STARTS)
    page = (compared / "report.html").read_text()
    for words in (
        *("Which encoder", "With 6 labelled images", "p, corrected", "reconstruction_seg-enc minus random"),
        *("What reconstruction sees", "How alike the encoders are", "Dice against training steps"),
    ):
        assert words in page, words
    assert {"cka.png", "reconstruction_views.png"} <= {path.name for path in (compared / "seed0/figures").iterdir()}


@pytest.mark.slow
def test_all_starts_learn_from_the_same_few_images(compared):
    report = json.loads((compared / "seed1/transfer_report.json").read_text())
    labelled = [report[cell(start, 6)]["labelled"] for start in STARTS]
    # A quarter of six is held out.
    assert len(labelled[0]) == 4 and labelled[0] == labelled[1] == labelled[2]
    assert (
        labelled[0] != json.loads((compared / "seed0/transfer_report.json").read_text())[cell("random", 6)]["labelled"]
    )
    copied = [len(report[cell(start, 6)]["copied"]) for start in STARTS]
    assert copied[0] == 0 < copied[1] < copied[2]


@pytest.mark.slow
def test_a_comparison_is_resumed_cell_by_cell(compared):
    """What is finished is not trained again; a cell that is missing is."""
    path = compared / "seed1/phases.json"
    phases, missing = json.loads(path.read_text()), cell("random", 6)
    before = results(compared)[missing]
    kept = {name: phase for name, phase in phases.items() if name not in (missing, f"score_{missing}")}
    path.write_text(json.dumps(kept))
    for file in (f"models/{missing}.keras", f"checkpoints/{missing}.npz"):
        (compared / "seed1" / file).unlink()
    written = (compared / f"seed1/models/{cell(STARTS[2], 6)}.keras").stat().st_mtime_ns
    flags = ["--pretexts", "reconstruction", "--labelled", "6", "--seeds", "0", "1", *FEW]
    run(transfer_compare, compared, *flags, "--resume")
    assert (compared / f"seed1/models/{cell(STARTS[2], 6)}.keras").stat().st_mtime_ns == written
    assert json.loads(path.read_text()).keys() == phases.keys()
    assert (compared / f"seed1/models/{missing}.keras").exists()
    assert results(compared)[missing]["dice_mean"] == pytest.approx(before["dice_mean"], abs=1e-6)


@pytest.mark.slow
def test_a_segmenter_starts_from_a_file_and_predicts(compared, tmp_path):
    source = compared / "seed0/models/reconstruction.keras"
    flags = ["--pretext", source, "--scenario", "seg-enc-dec", "--labelled", "0.3", "--dice-over", "batch", *FEW]
    output = run(transfer_finetune, tmp_path / "run", *flags, "--target", "star")
    assert set(results(output)) == {"unet_reconstruction_seg-enc-dec", "unet_random"}
    predictor = trained.open_predictor(output / "models/unet_reconstruction_seg-enc-dec.keras")
    assert predictor.about.labels == ("background", "star")
    assert predictor.predict(np.zeros((40, 50, 3), np.uint8)).segmentation.shape == (40, 50)


@pytest.mark.slow
def test_encoders_in_files_are_compared(compared, tmp_path):
    names = [cell(start, 6) for start in STARTS]
    files = [compared / f"seed0/models/{name}.keras" for name in names]
    output = run(transfer_cka, tmp_path / "run", "--models", *files, "--taps", "c3", "c4")
    found = results(output)
    assert set(found) == {f"cka_{name}.{tap}" for name in names for tap in ("c3", "c4")}
    one, other = found[f"cka_{names[0]}.c4"], found[f"cka_{names[1]}.c4"]
    assert one[f"cka/{names[1]}.c4"] == pytest.approx(other[f"cka/{names[0]}.c4"])
    assert "Most alike are" in (output / "report.html").read_text()


@pytest.mark.slow
def test_a_pretext_with_labels_is_trained_and_measured(tmp_path):
    output = run(transfer_pretrain, tmp_path / "run", "--pretext", "detection", "--task.reach", "0")
    assert set(results(output)["detection"]) == {"coordinates", "objectness", "background", "classes"}
    assert trained.encoder(output / "models/detection.keras").name == "encoder"


BAD = {
    "fewer images than classes": (transfer_finetune, ["--labelled", "1"], "classes without an image; give 4"),
    "less than one image": (transfer_finetune, ["--labelled", "0.01"], "is less than one image"),
    "no images": (transfer_finetune, ["--labelled", "0"], "--labelled is 0; give a number of images"),
    "a scenario that a pretext lacks": (
        transfer_finetune,
        ["--pretext", "simclr", "--scenario", "seg-enc"],
        "choose --scenario cls-enc",
    ),
    "a pretext from the masks that are counted": (
        transfer_finetune,
        ["--pretext", "segmentation", "--scenario", "seg-enc"],
        "would learn from the masks of all images",
    ),
    "an unknown target": (transfer_finetune, ["--target", "stat"], "(nearest: star)"),
    "a size that the stride does not divide": (transfer_pretrain, ["--image-size", "36"], "36 is not a multiple of 8"),
    "images smaller than what is painted": (transfer_pretrain, ["--image-size", "16"], "16 is too small"),
    "a number twice": (transfer_compare, ["--labelled", "8", "0.334"], "--labelled means 8 and 8 images"),
    "other data that is the same": (transfer_compare, ["--pretext-data", "toy:30"], "is the same as --data"),
    "weights without a word": (
        transfer_finetune,
        ["--scenario", "random", "--encoder", "yolov3-tiny"],
        "give --pretext yolov3-tiny --scenario cls-enc",
    ),
    "a tap that is not there": (transfer_cka, ["--taps", "c9"], "--taps c9: the encoder unet has c1, c2, c3, c4"),
    "fewer images than a contrast needs": (
        transfer_pretrain,
        ["--pretext", "simclr", "--batch-size", "32"],
        "--batch-size 32 is more than the 24 training images",
    ),
    "nothing to compare": (transfer_compare, ["--pretexts"], "there is nothing to compare"),
    "a single model": (transfer_cka, ["--models", "yolov3-tiny"], "give two or more to compare"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_no_folder(case, tmp_path, capsys):
    page, flags, words = BAD[case]
    with pytest.raises(SystemExit) as stopped:
        extra = FEW if page in (transfer_finetune, transfer_compare) else ()
        run(page, tmp_path / "run", *extra, *flags)
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and len(told.splitlines()) == 1
    assert words in " ".join(told.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scenario": "seg-enc"}, "--scenario seg-enc transfers weights; give --pretext"),
        ({"scenario": "cls-enc", "pretext": "nowhere.keras"}, "--pretext nowhere.keras: no such file"),
    ],
)
def test_settings_that_contradict_each_other(options, words):
    with pytest.raises(UserError, match=words):
        transfer_finetune.Config(**options)


@pytest.mark.slow
def test_random_weights_need_no_pretext(tmp_path):
    output = run(transfer_finetune, tmp_path / "run", "--scenario", "random", "--labelled", "6", *FEW)
    assert set(results(output)) == {"unet"}

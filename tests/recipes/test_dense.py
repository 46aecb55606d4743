"""Dense inference from data to report, on small drawn scenes, and decoders that see no mask."""

import json

import numpy as np
import PIL.Image
import pytest

from kerastransfer.recipes import yolo_dense, yolo_segnet
from kerastransfer.runs import settings, trained

SMALL = ["--data", "toy:20", "--image-size", "64", "--batch-size", "8", "--detector-epochs", "2", "--quiet"]
MAPS = ["--output-strides", "16", "--segmenter-stride", "8", "--pictures", "2", "--threshold-images", "4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that trains its own detector, with the paper's map, in tiles and without export."""
    folder = tmp_path_factory.mktemp("dense") / "run"
    flags = ["--no-export", "--stride-removed", "--tile", "32", "--output", str(folder)]
    settings.run(yolo_dense.main, yolo_dense.Config, [*SMALL, *MAPS, *flags])
    return folder


def test_the_run_folder_holds_what_the_contract_says(finished):
    results = json.loads((finished / "metrics.json").read_text())["results"]
    maps = {f"{kind}_{name}" for kind in ("objectness", "votes") for name in ("stride16", "stride8", "stride_removed")}
    assert set(results) == {"yolov1", "yolo_dense", *maps}
    for name in maps:
        assert 0 <= results[name]["auc_min"] <= results[name]["auc_mean"] <= 1
    page = (finished / "report.html").read_text()
    assert "Dense maps" in page and "votes_stride8" in page
    arrays = sorted((finished / "predictions/maps/stride8").glob("*.npz"))
    assert len(arrays) == 2
    with np.load(arrays[0]) as maps, PIL.Image.open(arrays[0].with_name(f"{arrays[0].stem}_votes.png")) as overlay:
        assert maps["votes"].shape == maps["objectness"].shape == (*overlay.size[::-1], 4)


def test_the_segmenter_is_the_map(finished):
    """models/yolo_dense.keras, opened as any segmenter, scores what its map scored."""
    results = json.loads((finished / "metrics.json").read_text())["results"]
    assert results["yolo_dense"]["iou_mean"] == pytest.approx(results["votes_stride8"]["iou_mean"], abs=0.01)
    predictor = trained.open_predictor(finished / "models/yolo_dense.keras")
    assert predictor.predict(np.zeros((50, 70, 3), np.uint8)).segmentation.shape == (50, 70)


def test_a_given_detector_is_taken_whole(finished, tmp_path, capsys):
    """And untiled, with the same maps to rounding."""
    flags = [*SMALL, *MAPS, "--no-export", "--detector", str(finished / "models/yolov1.keras")]
    settings.run(yolo_dense.main, yolo_dense.Config, [*flags, "--output", str(tmp_path / "run")])
    one, other = (json.loads((path / "metrics.json").read_text())["results"] for path in (finished, tmp_path / "run"))
    assert "yolov1" not in other
    assert other["votes_stride16"]["auc_mean"] == pytest.approx(one["votes_stride16"]["auc_mean"], abs=1e-4)


def test_decoders_from_boxes_alone(finished, tmp_path):
    folder = tmp_path / "run"
    flags = ["--decoders", "unet", "--decoder-epochs", "1", "--masks", "true", "from-boxes", "--no-export"]
    encoder = ["--encoder", str(finished / "models/encoder.npz"), "--output", str(folder)]
    settings.run(yolo_segnet.main, yolo_segnet.Config, [*SMALL, *flags, *encoder])
    results = json.loads((folder / "metrics.json").read_text())["results"]
    assert set(results) == {"yolo_unet", "yolo_unet_from_boxes"}
    masks = sorted((folder / "predictions/from_boxes").glob("*.png"))
    assert len(masks) == 16  # the training images, and no test image
    values = set(np.unique(np.concatenate([np.asarray(PIL.Image.open(path)).ravel() for path in masks])))
    assert values <= {0, 1, 2, 3, 4, 255} and len(values) > 2


BAD = {
    "stride that is no power of two": (["--output-strides", "3"], "powers of two"),
    "detector that is missing": (["--detector", "nowhere.keras"], "nowhere.keras: no such file"),
    "dense layers": (["--head", "paper_fc"], "--head fully_conv"),
    "stride that the detector does not have": (["--output-strides", "64"], "choose one of 1, 2, 4, 8, 16"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, finished, tmp_path, capsys):
    flags, words = BAD[case]
    detector = (
        []
        if case in ("dense layers", "detector that is missing")
        else ["--detector", str(finished / "models/yolov1.keras")]
    )
    with pytest.raises(SystemExit) as stopped:
        settings.run(yolo_dense.main, yolo_dense.Config, [*SMALL, "--output", str(tmp_path / "run"), *detector, *flags])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run/metrics.json").exists()


def test_a_segmenter_is_no_detector(finished, tmp_path, capsys):
    with pytest.raises(SystemExit):
        flags = ["--detector", str(finished / "models/yolo_dense.keras"), "--output", str(tmp_path / "run")]
        settings.run(yolo_dense.main, yolo_dense.Config, [*SMALL, *flags])
    assert "dense maps need a detector" in capsys.readouterr().err

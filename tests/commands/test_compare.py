"""`compare` on folders as runs leave them."""

import json

import numpy as np
import pytest

from kerastransfer.commands.compare import compare
from kerastransfer.errors import UserError
from kerastransfer.metrics import detection
from kerastransfer.runs import comparing

HEADER = "# kerastransfer 0.2.0: python -m kerastransfer.recipes.yolo_unet --config config.toml\n"


def run(folder, per_image, *, model="unet", validation=True, data="photos"):
    """A run of a segmenter with these IoUs."""
    folder.mkdir()
    (folder / "config.toml").write_text(HEADER)
    results = {model: {"iou_mean": float(np.mean([*per_image.values()])), "dice_mean": None}}
    (folder / "metrics.json").write_text(json.dumps({"recipe": "yolo_unet", "data": data, "results": results}))
    (folder / "phases.json").write_text(
        json.dumps({f"score_{model}": {"seconds": 1, "result": {"per_image": per_image}}})
    )
    rows = ["phase,epoch,loss,val_loss", *(f"unet,{n},{1 / n},{2 / n if validation else ''}" for n in (1, 2, 3))]
    (folder / "history.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def ious():
    rng = np.random.default_rng(0)
    return {f"image{number}": float(value) for number, value in enumerate(rng.uniform(0.2, 0.8, 40))}


def test_the_same_test_images_are_paired(ious, tmp_path, capsys):
    better = {name: value + 0.1 + 0.01 * (number % 2) for number, (name, value) in enumerate(ious.items())}
    runs = [str(run(tmp_path / "a", better)), str(run(tmp_path / "b", dict(reversed(ious.items()))))]
    (found,) = comparing.differences(comparing.read(runs))
    assert found.value == pytest.approx(0.105) and found.images == 40
    # Far narrower than the images differ among each other.
    assert 0.1 < found.low < 0.105 < found.high < 0.11
    page = tmp_path / "page.html"
    compare(tuple(runs), output=page)
    told = capsys.readouterr().out
    assert "│ iou_mean  │" in told
    assert "a: unet minus b: unet is +0.105" in told and "paired" in told
    assert page.read_text().count("data:image/png") == 3
    with pytest.raises(UserError, match="--overwrite"):
        compare(tuple(runs), output=page)


def test_other_test_images_are_told_and_not_paired(ious, tmp_path, capsys):
    other = {f"{name}x" if number % 2 else name: value for number, (name, value) in enumerate(ious.items())}
    compare((str(run(tmp_path / "a", ious)), str(run(tmp_path / "b", other))))
    assert "not paired: other test images (20 of 40 and 40 are shared)" in " ".join(capsys.readouterr().out.split())


def test_equal_names_of_other_data_are_not_paired(ious, tmp_path):
    runs = [run(tmp_path / "a", ious), run(tmp_path / "b", ious, data="others")]
    assert "other annotations" in comparing.differences(comparing.read(runs))[0].note


def detector(folder, shift, boxes):
    """A run of a detector whose boxes are moved by `shift`, with its predictions."""
    folder.mkdir()
    (folder / "config.toml").write_text(HEADER)
    ones = np.ones(1, int)
    truths = [
        {"name": f"{n}", "size": (100, 100), "boxes": box[None], "labels": 0 * ones} for n, box in enumerate(boxes)
    ]
    found = [
        {"name": f"{n}", "boxes": box[None] + (shift if n % 3 == 0 else 0), "labels": 0 * ones, "scores": 0.5 * ones}
        for n, box in enumerate(boxes)
    ]
    truth = detection.coco_truth(truths, ("cat",))
    results = detection.coco_results(found, truth)
    scores = detection.evaluate_coco(truth, results, ("cat",))
    (folder / "metrics.json").write_text(json.dumps({"recipe": "detector", "data": "d", "results": {"yolo": scores}}))
    (folder / "predictions").mkdir()
    (folder / "predictions" / "truth_detection.json").write_text(json.dumps(truth))
    (folder / "predictions" / "yolo.json").write_text(json.dumps(results))
    return folder, scores["AP50"]


def test_detectors_are_compared_by_resampling_images(tmp_path):
    corner = np.random.default_rng(0).uniform(0, 0.5, (30, 2))
    boxes = np.concatenate([corner, corner + 0.3], axis=1)
    (a, right), (b, wrong) = (detector(tmp_path / name, shift, boxes) for name, shift in (("a", 0.0), ("b", 0.4)))
    (found,) = comparing.differences(comparing.read([a, b]))
    assert found.value == pytest.approx(right - wrong, abs=1e-3)
    assert 0 < found.low < found.value < found.high < 1
    (same,) = comparing.differences(comparing.read([a, detector(tmp_path / "c", 0.0, boxes)[0]]))
    assert (same.value, same.low, same.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("a",), "two or more different runs"),
        (("a", "a"), "two or more different runs"),
        (("a", "nowhere"), "not the folder of a run"),
        (("a", "young"), "no scores yet"),
    ],
)
def test_what_cannot_be_compared(given, told, ious, tmp_path):
    run(tmp_path / "a", ious)
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "config.toml").write_text(HEADER)
    with pytest.raises(UserError, match=told):
        compare(tuple(str(tmp_path / one) for one in given))

import json
import zipfile

import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.export import parity
from kerastransfer.export.parity import ParityError, Tolerance
from kerastransfer.export.predictor import Predictor

LABELS = {"detection": ("cat", "dog", "hen"), "segmentation": ("background", "cat", "dog")}


@pytest.fixture
def export(networks, drawn, photos, tmp_path):
    def run(task, **options):
        common = {"labels": LABELS[task], "image_size": (64, 96), "calibration": drawn, "images": photos}
        return parity.export_all(networks[task], tmp_path, "net", task=task, **common | options)

    return run


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_three_files_on_real_photos(export, tmp_path, task):
    calls = []

    def score(predict):
        calls.append(predict(np.zeros((9, 9, 3), np.uint8)))
        return 0.5

    exported = export(task, score=score)
    names = ["net.tflite", "net_float16.tflite", "net_int8.tflite"]
    assert [file.path.name for file in exported] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.json", *names]
    assert len(calls) == 4, "the Keras model and three files"
    for file in exported:
        assert file.passed
        assert file.reason == ""
        assert file.bytes == file.path.stat().st_size
        assert file.metric == {"keras": 0.5, "file": 0.5}
        assert set(file.milliseconds) == {1, 2}
        assert Predictor(file.path).metadata.kind == file.kind
        assert zipfile.ZipFile(file.path).read("labels.txt").decode().split() == list(LABELS[task])
    largest = [max(one["maximum"] for one in file.differences.values()) for file in exported]
    assert largest[0] < 1e-5 < largest[1] < 0.01 < 0.02 + largest[2] < 0.1

    summary = json.loads((tmp_path / "net.json").read_text())
    assert summary["labels"] == list(LABELS[task])
    assert summary["image_size"] == [64, 96]
    assert [file["path"] for file in summary["parity"]["files"]] == names
    assert summary["parity"]["files"][2]["differences"] == exported[2].differences


def test_a_file_out_of_tolerance_fails_and_says_so(export, tmp_path):
    export("segmentation", kinds=["int8"])
    strict = {**parity.TOLERANCES, "int8": Tolerance(mean=1e-9)}
    with pytest.raises(ParityError, match=r"net_int8\.failed.tflite: mean difference of segmentation") as error:
        export("segmentation", kinds=["float32", "int8"], tolerances=strict)
    assert "\n" not in str(error.value)
    assert [file.passed for file in error.value.files] == [True, False]
    names = ["net.json", "net.tflite", "net_int8.failed.tflite"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert not json.loads((tmp_path / "net.json").read_text())["parity"]["files"][1]["passed"]
    export("segmentation", kinds=["int8"])
    assert not (tmp_path / "net_int8.failed.tflite").exists()
    assert (tmp_path / "net_int8.tflite").exists()


@pytest.mark.parametrize("after", [0.4, float("nan")])
def test_a_lost_metric_fails(export, after):
    scores = iter([0.5, after])
    with pytest.raises(ParityError, match=r"where a loss of 0\.01 is allowed"):
        export("detection", kinds=["float32"], score=lambda predict: next(scores))


def test_outputs_that_are_no_numbers_fail(networks, export, monkeypatch):
    monkeypatch.setattr(
        parity.KerasPredictor, "outputs", lambda *_: {"segmentation": np.full((64, 96, 3), np.nan, np.float32)}
    )
    with pytest.raises(ParityError, match="maximum difference of segmentation nan"):
        export("segmentation", kinds=["float32"])


def test_what_cannot_be_exported_writes_nothing(networks, export, tmp_path):
    with pytest.raises(UserError, match="got none"):
        export("detection", images=[])
    with pytest.raises(UserError, match="int8 needs calibration images"):
        export("detection", calibration=[])
    with pytest.raises(UserError, match="3 classes and got 2 labels"):
        export("detection", labels=("cat", "dog"))
    with pytest.raises(UserError, match="does not give segmentation"):
        parity.check_outputs(networks["detection"], "segmentation", LABELS["segmentation"])
    assert not list(tmp_path.iterdir())


def test_another_candidate_of_the_same_object_is_within_the_tolerance_of_half_precision_and_not_of_single():
    """Measured on 27 photos: one box moved by 0.011, one cell of its mask by 0.6."""
    found = {
        "boxes": {"maximum": 0.011, "mean": 1.5e-4},
        "scores": {"maximum": 0.024, "mean": 1.6e-4},
        "masks": {"maximum": 0.6, "mean": 1.5e-3},
    }
    paired = {"detections": 60, "missing": 0, "extra": 0}
    assert not list(parity.excesses(found, None, parity.INSTANCES["float16"], paired))
    assert list(parity.excesses(found, None, parity.INSTANCES["float32"], paired))
    worse = {**found, "masks": {"maximum": 0.6, "mean": 0.02}}
    assert list(parity.excesses(worse, None, parity.INSTANCES["float16"], paired))
    nothing = {**found, "masks": {"maximum": np.nan, "mean": np.nan}}
    assert list(parity.excesses(nothing, None, parity.INSTANCES["float16"], paired))

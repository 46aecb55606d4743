"""DeepLab decoders on a dilated encoder, from data to exported files."""

import csv
import json

import keras
import numpy as np
import pytest

from kerastransfer.data import datasets, splits
from kerastransfer.data.resize import resize_image
from kerastransfer.encoders import taps
from kerastransfer.encoders.yolov1 import yolov1_encoder
from kerastransfer.export import loading
from kerastransfer.recipes import yolo_segnet
from kerastransfer.runs import command_line, trained
from kerastransfer.tasks import TASKS
from kerastransfer.training import statistics

FLAGS = [
    *("--data", "toy:40", "--image-size", "64", "--batch-size", "8", "--quiet", "--no-cache-features"),
    *("--decoder-epochs", "60", "--decoder-learning-rate", "0.02"),
    *("--decoders", "deeplab", "deeplab_aspp", "--output-stride", "8"),
]
STAGES = (((16, 3, 2),), ((32, 3, 2),), ((64, 3, 2),), ((64, 3, 2),), ((64, 3, 2),))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on an encoder of stride 32 with random weights, which is beside it."""
    folder = tmp_path_factory.mktemp("deeplab")
    keras.utils.set_random_seed(0)
    encoder = yolov1_encoder(STAGES, activation="relu6")
    images = [resize_image(sample.read()["image"], (64, 64)) for sample in datasets.load("toy:16").samples]
    statistics.estimate(encoder, [np.stack(images)])
    loading.write_keras(encoder, folder / "encoder.keras")
    flags = [*FLAGS, "--encoder", str(folder / "encoder.keras"), "--output", str(folder / "run")]
    command_line.run(yolo_segnet.main, yolo_segnet.Config, flags)
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplab", "deeplab_aspp"])
def test_the_kept_model_is_dilated_and_scores_what_was_written(name, finished):
    whole, part = map(trained.encoder, (finished.parent / "encoder.keras", finished / f"models/{name}.keras"))
    assert max(taps.strides(whole).values()) == 32 and max(taps.strides(part).values()) == 8
    for one, other in zip(whole.weights, part.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    predictor = trained.open_predictor(finished / f"models/{name}.keras")
    _, test = splits.split(datasets.load("toy:40"), "every_fifth", ("segmentation",))
    scores = TASKS["segmentation"].score(predictor.predict, test, predictor.about.labels).metrics
    written = json.loads((finished / "metrics.json").read_text())["results"][name]
    assert written["iou_mean"] > 0
    with (finished / "history.csv").open(encoding="utf-8") as file:
        losses = [float(row["cross_entropy"]) for row in csv.DictReader(file) if row["phase"] == name]
    assert len(losses) == 60 and losses[-1] < 0.5 * losses[0]
    np.testing.assert_allclose([np.nan if value is None else value for value in written.values()], [*scores.values()])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplab", "deeplab_aspp"])
def test_exported_files_agree_with_the_kept_model(name, finished):
    """The run compared every file with the Keras model before it named it so."""
    files = {path.name for path in (finished / "tflite").glob(f"{name}*.tflite")}
    files = {file for file in files if name == "deeplab_aspp" or "aspp" not in file}
    assert files == {f"{name}{kind}.tflite" for kind in ("", "_float16", "_int8")}
    predictors = [
        trained.open_predictor(finished / place) for place in (f"models/{name}.keras", f"tflite/{name}.tflite")
    ]
    for sample in datasets.load("toy:5").samples:
        wanted, found = (predictor.predict(sample.read()["image"]).segmentation for predictor in predictors)
        assert np.mean(found == wanted) > 0.999

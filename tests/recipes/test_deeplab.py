"""DeepLab decoders on a dilated encoder, from data to exported files."""

import json

import numpy as np
import pytest

from kerastransfer.data import datasets, splits
from kerastransfer.encoders import taps
from kerastransfer.recipes import yolo_segnet
from kerastransfer.runs import command_line, trained
from kerastransfer.tasks import TASKS

FLAGS = [
    *("--data", "toy:24", "--image-size", "64", "--batch-size", "8", "--quiet"),
    *("--detector-epochs", "2", "--decoder-epochs", "4", "--no-cache-features"),
    *("--decoders", "deeplab", "deeplab_aspp", "--output-stride", "8"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deeplab") / "run"
    command_line.run(yolo_segnet.main, yolo_segnet.Config, [*FLAGS, "--output", str(folder)])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplab", "deeplab_aspp"])
def test_the_kept_model_is_dilated_and_scores_what_was_written(name, finished):
    whole, part = (trained.encoder(finished / f"models/{one}.keras") for one in ("encoder", name))
    assert max(taps.strides(whole).values()) == 16 and max(taps.strides(part).values()) == 8
    for one, other in zip(whole.weights, part.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    predictor = trained.open_predictor(finished / f"models/{name}.keras")
    _, test = splits.split(datasets.load("toy:24"), "every_fifth", ("segmentation",))
    scores = TASKS["segmentation"].score(predictor.predict, test, predictor.about.labels).metrics
    written = json.loads((finished / "metrics.json").read_text())["results"][name]
    np.testing.assert_allclose([np.nan if value is None else value for value in written.values()], [*scores.values()])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplab", "deeplab_aspp"])
def test_exported_files_agree_and_have_builtin_operators_alone(name, finished):
    """The run checked every file against the Keras model before it kept it; LiteRT opens them without TensorFlow's."""
    files = sorted(path.name for path in (finished / "tflite").glob(f"{name}_*.tflite"))
    assert any("float32" in file for file in files) and any("int8" in file for file in files)
    image = datasets.load("toy:3").samples[0].read()["image"]
    wanted = trained.open_predictor(finished / f"models/{name}.keras").predict(image).segmentation
    found = trained.open_predictor(finished / "tflite" / next(f for f in files if "float32" in f)).predict(image)
    assert np.mean(found.segmentation == wanted) > 0.999

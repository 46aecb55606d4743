import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from kerastransfer.data.resize import resize_image
from kerastransfer.errors import UserError
from kerastransfer.export.keras_predictor import KerasPredictor
from kerastransfer.export.predictor import Predictor, dequantised, quantised
from kerastransfer.tasks import metadata


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_the_file_predicts_what_keras_predicts(networks, exported, photos, task):
    predictor = Predictor(exported[task, "float32"])
    reference = KerasPredictor(networks[task], predictor.about)
    for photo in photos[:4]:
        got, expected = predictor.predict(photo), reference.predict(photo)
        if task == "segmentation":
            assert got.segmentation.shape == photo.shape[:2]
            assert np.mean(got.segmentation == expected.segmentation) > 0.999
        else:
            assert len(got.boxes) > 0
            np.testing.assert_allclose(got.boxes, expected.boxes, atol=1e-5)
            np.testing.assert_allclose(got.scores, expected.scores, atol=1e-5)
            assert got.names == expected.names


@pytest.mark.parametrize("size", [(1, 1), (10000, 50), (3, 700)])
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_images_of_any_size(exported, size, kind):
    image = np.full((*size, 3), 200, np.uint8)
    segmenter, detector = (Predictor(exported[task, kind]) for task in ("segmentation", "detection"))
    assert segmenter.predict(image).segmentation.shape == size
    found = detector.predict(image, score=0.0, iou=1.0, detections=5)
    assert found.boxes.shape == (5, 4)
    for predictor, prediction in ((segmenter, segmenter.predict(image)), (detector, found)):
        assert predictor.draw(image, prediction).size == size[::-1]


def test_thresholds_are_the_files_unless_given(exported):
    predictor = Predictor(exported["detection", "float32"])
    assert predictor.about.thresholds.score == 0.3
    image = np.full((64, 96, 3), 90, np.uint8)
    assert predictor.predict(image).scores.min(initial=1) >= 0.3
    assert len(predictor.predict(image, score=1.0).scores) == 0
    assert len(predictor.predict(image, score=0, iou=1).scores) == predictor.about.thresholds.detections


@pytest.mark.parametrize(
    ("thresholds", "told"),
    [
        ({"score": 5}, "score is 5; give a score from 0 to 1"),
        ({"score": float("nan")}, "score is nan; give a score from 0 to 1"),
        ({"score": "high"}, "score is 'high'; give a score from 0 to 1"),
        ({"iou": -1}, "iou is -1; give an IoU from 0 to 1"),
        ({"detections": 0}, "detections is 0; give a whole number above 0"),
        ({"detections": 2.5}, "detections is 2.5; give a whole number above 0"),
    ],
)
def test_thresholds_out_of_range_are_refused(exported, thresholds, told):
    predictor = Predictor(exported["detection", "float32"])
    with pytest.raises(UserError, match=told):
        predictor.predict(np.zeros((64, 96, 3), np.uint8), **thresholds)


def test_a_path_an_array_or_a_picture(exported, photo_paths, photos):
    predictor = Predictor(exported["segmentation", "int8"], threads=1)
    by_array = predictor.predict(photos[0])
    for image in (photo_paths[0], PIL.Image.fromarray(photos[0]), PIL.Image.fromarray(photos[0]).convert("RGBA")):
        np.testing.assert_array_equal(predictor.predict(image).segmentation, by_array.segmentation)
        assert predictor.draw(image, by_array).size == photos[0].shape[1::-1]


def test_the_overlay_leaves_background_alone(exported, photos):
    predictor = Predictor(exported["segmentation", "float32"])
    prediction = predictor.predict(photos[0])
    drawn = np.asarray(predictor.draw(photos[0], prediction))
    changed = (drawn != photos[0]).any(axis=-1)
    assert not changed[prediction.segmentation == 0].any()
    assert changed[prediction.segmentation > 0].mean() > 0.9


def test_quantised_tensors_are_honoured():
    detail = {"quantization": (0.5, 10), "dtype": np.uint8}
    held = quantised(np.array([-100.0, 0.0, 0.5, 1000.0]), detail)
    assert held.tolist() == [0, 10, 11, 255]
    assert held.dtype == np.uint8
    np.testing.assert_array_equal(dequantised(held, detail), np.float32([-5, 0, 0.5, 122.5]))
    assert quantised(np.array([7], np.uint8), {"quantization": (0.0, 0), "dtype": np.float32}).dtype == np.float32


def test_photos_are_resized_as_tensorflow_does(photos):
    import tensorflow as tf

    for size in ((64, 96), (600, 500)):
        expected = tf.image.resize(photos[0], size, antialias=True)
        np.testing.assert_allclose(resize_image(photos[0], size), expected, atol=1.01)


def test_latency_is_measured(exported):
    assert 0 < Predictor(exported["segmentation", "int8"]).latency(runs=3) < 10_000


def test_bad_files_and_images(exported, tmp_path):
    about = Predictor(exported["detection", "int8"]).about
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(metadata.attach(exported["detection", "int8"].read_bytes()[:5000], about))
    with pytest.raises(UserError, match="cannot run this file") as error:
        Predictor(damaged)
    assert "\n" not in str(error.value)
    photo = tmp_path / "photo.png"
    PIL.Image.new("RGB", (5, 5)).save(photo)
    with pytest.raises(UserError, match=r"not a \.tflite file"):
        Predictor(photo)
    for image in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(UserError, match="uint8"):
            Predictor(exported["detection", "int8"]).predict(image)
    with pytest.raises(UserError, match="the image is a NoneType; give a path, a Pillow image, or an array"):
        Predictor(exported["detection", "int8"]).predict(None)


def test_neither_tensorflow_nor_keras_is_imported(exported):
    program = f"""
import sys
import numpy as np
from kerastransfer.export.predictor import Predictor
predictor = Predictor({str(exported["segmentation", "int8"])!r})
image = np.zeros((20, 30, 3), np.uint8)
predictor.draw(image, predictor.predict(image))
heavy = {{"tensorflow", "keras", "jax", "torch", "matplotlib", "scipy"}}.intersection(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""

"""A network of volumes as a LiteRT file: builtin operators, the numbers of Keras, and a file that is off."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from kerastransfer.errors import UserError
from kerastransfer.export import volumes
from kerastransfer.export.portable import with_planes
from kerastransfer.models.genesis import genesis_segmenter

CUBE = (4, 8, 4)


@pytest.fixture(scope="module")
def network():
    """Its statistics are not those that it began with."""
    keras.utils.set_random_seed(0)
    model, random = genesis_segmenter(3, width=3, depth=3), np.random.default_rng(0)
    for weight in model.non_trainable_weights:
        weight.assign(random.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.fixture
def cubes():
    return list(np.random.default_rng(1).random((2, *CUBE), "float32"))


def test_pooling_in_planes_is_the_same(network, cubes):
    planar = with_planes(network)
    assert planar is not network
    volume = np.stack(cubes)[..., None]
    np.testing.assert_array_equal(planar(volume), network(volume))
    assert with_planes(planar) is planar


@pytest.mark.slow
def test_the_file_gives_the_numbers_of_keras_with_builtin_operators(network, cubes, tmp_path):
    record = volumes.export(network, tmp_path / "net.tflite", cubes)
    assert record.passed and record.differences["logits"]["maximum"] < 1e-4 and record.path.name == "net.tflite"
    interpreter = Interpreter(str(tmp_path / "net.tflite"))
    runner = interpreter.get_signature_runner()
    assert runner.get_input_details()["volume"]["shape"].tolist() == [1, *CUBE, 1]
    found = runner(volume=cubes[0][None, ..., None])["logits"]
    np.testing.assert_allclose(found, network(cubes[0][None, ..., None]), atol=1e-4)
    operators = {one["op_name"] for one in interpreter._get_ops_details()}
    assert "CONV_3D" in operators and not any(name.startswith("Flex") or name == "CUSTOM" for name in operators)


@pytest.mark.slow
def test_a_file_that_is_off_is_kept_under_another_name(network, cubes, tmp_path, monkeypatch):
    other = genesis_segmenter(3, width=1, depth=1)
    given = volumes.convert(other, CUBE)
    monkeypatch.setattr(volumes, "convert", lambda *_: given)
    record = volumes.export(network, tmp_path / "net.tflite", cubes)
    assert not record.passed and "logits differ by up to" in record.reason
    assert [path.name for path in tmp_path.iterdir()] == ["net.failed.tflite"]


def test_operators_that_litert_lacks_are_named():
    volume = keras.Input((4, 4, 4, 1))
    pooled = keras.Model(volume, keras.layers.AveragePooling3D(2)(volume), name="average")
    with pytest.raises(UserError, match="'average': LiteRT has no builtin operator for AvgPool3D"):
        volumes.convert(pooled, (4, 4, 4))

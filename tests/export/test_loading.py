import zipfile

import keras
import numpy as np
import pytest

from kerastransfer.errors import UserError
from kerastransfer.export import loading

# Keras reads variables with an older form of numpy's protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def path(networks, tmp_path):
    loading.write_keras(networks["segmentation"], tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_a_model_comes_back(networks, path):
    image = np.full((1, 64, 96, 3), 100, np.float32)
    model = loading.load_keras(path)
    np.testing.assert_array_equal(model(image)["segmentation"], networks["segmentation"](image)["segmentation"])
    assert list(path.parent.iterdir()) == [path]


def test_our_layers_are_known(tmp_path):
    from kerastransfer.layers.blocks import conv_bn

    image = keras.Input((8, 8, 3), name="image")
    loading.write_keras(keras.Model(image, {"c1": conv_bn(image, 4, 3, name="c1")}), tmp_path / "model.keras")
    assert loading.load_keras(tmp_path / "model.keras").output["c1"].shape == (None, 8, 8, 4)


def refused(path, words):
    with pytest.raises(UserError, match=words) as error:
        loading.load_keras(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_lambda_is_refused_and_not_run(tmp_path):
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image))
    model.save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", "code of its own")


def test_an_unknown_layer_is_refused(tmp_path):
    class Foreign(keras.layers.Layer):
        def call(self, x):
            return x

    image = keras.Input((4,))
    keras.Model(image, Foreign()(image)).save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", "needs '.*Foreign', which is neither")


def test_damage_is_told(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(path, "cut off")
    path.write_text("not a model")
    refused(path, "not a .keras file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.txt", "")
    refused(path, "config.json")
    refused(path.parent, "no such file")
    refused(path.with_name("other.keras"), "no such file")


def test_a_failed_write_leaves_the_old_file(path, networks, monkeypatch):
    content = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(UserError, match="disk is full"):
        loading.write_keras(networks["detection"], path)
    assert path.read_bytes() == content

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastransfer.errors import UserError
from kerastransfer.export import saved_model


def test_a_saved_model_serves_by_name(networks, tmp_path):
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    saved_model.write(networks["detection"], tmp_path / "run" / "detector")
    serve = tf.saved_model.load(tmp_path / "run" / "detector").signatures["serving_default"]
    assert serve.structured_input_signature[1]["image"].shape.as_list() == [None, 64, 96, 3]
    got, expected = serve(image=tf.constant(image)), networks["detection"](image)
    for name in ("boxes", "scores"):
        np.testing.assert_allclose(got[name], expected[name], atol=1e-5)


def test_sizes_may_be_fixed(networks, tmp_path):
    encoder = networks["detection"].get_layer("encoder")
    saved_model.write(encoder, tmp_path / "encoder", batch_size=1, image_size=(32, 48))
    serve = tf.saved_model.load(tmp_path / "encoder").signatures["serving_default"]
    assert serve.structured_outputs["c2"].shape.as_list() == [1, 8, 12, 16]


def test_the_folder_is_replaced_whole(networks, tmp_path):
    folder = tmp_path / "detector"
    folder.mkdir()
    (folder / "stale").touch()
    saved_model.write(networks["detection"], folder)
    assert not (folder / "stale").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failure_leaves_the_old_folder(networks, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "detector"
    folder.mkdir()
    (folder / "old").touch()

    def full(*_, **__):
        print("{{function_node __wrapped__SaveV2}} and much more")
        raise tf.errors.ResourceExhaustedError(None, None, "{{function_node SaveV2}} a; No space left on device")

    monkeypatch.setattr(type(keras.export.ExportArchive()), "write_out", full)
    with pytest.raises(UserError, match=r"detector: the disk is full; free some space, then run again$"):
        saved_model.write(networks["detection"], folder)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["detector", "old"]


@pytest.mark.parametrize("reason", ["Read-only file system", "No such device or address", "No such file or Op"])
def test_the_reason_of_the_system_is_told_whole(networks, tmp_path, monkeypatch, reason):
    def fails(*_, **__):
        raise tf.errors.UnknownError(None, None, "{{function_node SaveV2}} a/b.tmp; " + reason + " [Op:SaveV2]")

    monkeypatch.setattr(type(keras.export.ExportArchive()), "write_out", fails)
    with pytest.raises(UserError, match=rf"cannot be written \({reason}\); choose another folder"):
        saved_model.write(networks["detection"], tmp_path / "detector")


def test_nameless_outputs_are_refused(tmp_path):
    image = keras.Input((8, 8, 3), name="image")
    with pytest.raises(UserError, match="dict of outputs"):
        saved_model.write(keras.Model(image, keras.layers.Conv2D(1, 1)(image)), tmp_path / "model")

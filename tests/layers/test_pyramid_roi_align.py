import keras
import numpy as np
import pytest

from kerastransfer.layers.pyramid_roi_align import PyramidRoIAlign
from kerastransfer.ops.roi_align import roi_align


def test_each_box_is_pooled_from_its_own_map():
    random = np.random.default_rng(0)
    fine, coarse = (random.normal(size=(2, side, side, 3)).astype("float32") for side in (8, 4))
    boxes = np.sort(random.uniform(0, 1, (2, 5, 2, 2)), axis=2).reshape(2, 5, 4).astype("float32")
    levels = np.array([[0, 1, 1, 0, 0], [1, 1, 0, 0, 1]])
    layer = PyramidRoIAlign(4)
    pooled = keras.ops.convert_to_numpy(layer([fine, coarse], boxes, levels))
    assert pooled.shape == (2, 5, 4, 4, 3) == layer.compute_output_shape([fine.shape], boxes.shape, levels.shape)
    for level, features in enumerate((fine, coarse)):
        wanted = keras.ops.convert_to_numpy(roi_align(features, boxes, 4))
        np.testing.assert_allclose(pooled[levels == level], wanted[levels == level], atol=1e-6)
    assert PyramidRoIAlign.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("training", [True, False])
def test_large_maps_are_pooled_faster_while_training(training, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("on GPUs all maps are pooled by matrices")
    sides, original = [], tf.image.crop_and_resize

    def counted(image, *args):
        sides.append(image.shape[1])
        return original(image, *args)

    monkeypatch.setattr(tf.image, "crop_and_resize", counted)
    random = np.random.default_rng(0)
    maps = [random.normal(size=(1, side, side, 3)).astype("float32") for side in (44, 22)]
    boxes, levels = np.array([[[0.1, 0.2, 0.6, 0.9], [0.3, 0.1, 0.8, 0.5]]], "float32"), np.array([[0, 1]])
    layer = PyramidRoIAlign(4)
    found = tf.function(lambda *given: layer(list(given), boxes, levels, training=training))(*maps)
    # The map has an edge of a pixel then.
    assert sides == ([46] if training else [])
    np.testing.assert_allclose(found, layer(maps, boxes, levels), atol=1e-5)

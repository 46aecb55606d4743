import keras
import numpy as np

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

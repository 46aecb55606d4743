"""RoIAlign on several maps, from one of which each box is pooled."""

import keras
from keras import ops

from kerastransfer.layers.roi_align import pool


@keras.saving.register_keras_serializable(package="kerastransfer")
class PyramidRoIAlign(keras.layers.Layer):
    """From maps [(B, h, w, D), ...], boxes (B, N, (y1, x1, y2, x2)) as fractions of the image, and levels (B, N), the
    index of each box's map, to (B, N, P, P, D). Boxes stay in float32, whatever the layer computes in.

    All boxes are pooled from all maps and multiplied by 0 for other levels, so that shapes are static, which compilers
    need. size, sampling_ratio: as in `kerastransfer.ops.roi_align`, by the method "auto" of `RoIAlign`.
    """

    def __init__(self, size: int, *, sampling_ratio: int = 2, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.size, self.sampling_ratio = size, sampling_ratio

    def call(self, maps, boxes, levels, training=None):
        total = 0.0
        for level, features in enumerate(maps):
            features = ops.cast(features, self.compute_dtype)
            pooled = pool(features, boxes, self.size, sampling_ratio=self.sampling_ratio, training=training)
            if len(maps) > 1:
                own = ops.cast(ops.equal(ops.cast(levels, "int32"), level), pooled.dtype)
                pooled = pooled * ops.reshape(own, (*ops.shape(own), 1, 1, 1))
            total = total + pooled
        return total

    def compute_output_shape(self, maps_shape, boxes_shape, levels_shape):
        return (*boxes_shape[:2], self.size, self.size, maps_shape[0][-1])

    def get_config(self):
        return {**super().get_config(), "size": self.size, "sampling_ratio": self.sampling_ratio}

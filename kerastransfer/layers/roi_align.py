"""RoIAlign as a layer, by interpolation matrices or by TensorFlow's crop_and_resize."""

import keras
from keras import ops

from kerastransfer.ops.roi_align import REDUCTIONS, roi_align

METHODS = ("matrices", "crop_and_resize")


@keras.saving.register_keras_serializable(package="kerastransfer")
class RoIAlign(keras.layers.Layer):
    """Pool boxes from maps: called with features (B, H, W, D) and boxes (B, N, (y1, x1, y2, x2)) as fractions of the
    map, gives (B, N, P, P, D).

    size, sampling_ratio, aligned, reduce: as in `kerastransfer.ops.roi_align`.
    method: "matrices" runs on every backend, compiles and exports. "crop_and_resize" gives the same values for aligned
        boxes and 1 or more samples (spec/03 section 4), but on TensorFlow alone: it neither compiles with XLA nor
        converts to LiteRT. It computes in float32. A sample just a pixel outside the map, where values end, may round
        to either side.

    Boxes stay in the precision they come in, whatever the layer computes in, and get no gradient.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        sampling_ratio: int = 2,
        aligned: bool = True,
        reduce: str = "mean",
        method: str = "matrices",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # half precision would move boxes by pixels
        if reduce not in REDUCTIONS:
            raise ValueError(f"reduce {reduce!r}: choose from {REDUCTIONS}")
        if method not in METHODS:
            raise ValueError(f"method {method!r}: choose from {METHODS}")
        if method == "crop_and_resize" and not (aligned and sampling_ratio > 0):
            raise ValueError("crop_and_resize takes 1 or more samples from aligned boxes: use the method 'matrices'")
        self.size = size if isinstance(size, int) else tuple(size)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.reduce = reduce
        self.method = method

    def call(self, features, boxes):
        features = ops.cast(features, self.compute_dtype)
        if self.method == "crop_and_resize":
            pooled = self._by_crop_and_resize(ops.cast(features, "float32"), ops.cast(boxes, "float32"))
            return ops.cast(pooled, features.dtype)
        return roi_align(
            features,
            boxes,
            self.size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
            reduce=self.reduce,
        )

    def compute_output_shape(self, features_shape, boxes_shape):
        return (*boxes_shape[:2], *self._bins(), features_shape[-1])

    def get_config(self):
        own = {name: getattr(self, name) for name in ("size", "sampling_ratio", "aligned", "reduce", "method")}
        return {**super().get_config(), **own}

    def _bins(self):
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def _by_crop_and_resize(self, features, boxes):
        """It samples from corner to corner and has no samples outside the map, so it gets the places of the first and
        the last sample, on a map that repeats its edges."""
        import tensorflow as tf

        batch, height, width, depth = ops.shape(features)
        number = ops.shape(boxes)[1]
        samples = [count * self.sampling_ratio for count in self._bins()]
        bordered = tf.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC")
        lengths = tf.cast([height, width], "float32")
        near, far = (sides * lengths + 0.5 for sides in (boxes[..., :2], boxes[..., 2:]))  # 1 for the border
        half_step = (far - near) / (2 * tf.constant(samples, "float32"))
        ends = tf.concat([near + half_step, far - half_step], -1) / tf.tile(lengths + 1, (2,))
        crops = tf.image.crop_and_resize(
            bordered,
            tf.stop_gradient(tf.reshape(ends, (-1, 4))),
            tf.repeat(tf.range(batch), number),
            samples,
        )
        pool = tf.nn.avg_pool2d if self.reduce == "mean" else tf.nn.max_pool2d
        pooled = pool(crops, self.sampling_ratio, self.sampling_ratio, "VALID")
        return tf.reshape(pooled, (batch, number, *self._bins(), depth))

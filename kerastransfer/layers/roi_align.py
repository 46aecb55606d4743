"""RoIAlign as a layer, with interpolation matrices or with TensorFlow's crop_and_resize."""

import keras
from keras import ops

from kerastransfer.ops.roi_align import REDUCTIONS, roi_align

METHODS = ("matrices", "crop_and_resize")


@keras.saving.register_keras_serializable(package="kerastransfer")
class RoIAlign(keras.layers.Layer):
    """Pools boxes from maps: from features (B, H, W, D) and boxes (B, N, (y1, x1, y2, x2)) as fractions of the map, to
    (B, N, P, P, D).

    size, sampling_ratio, aligned, reduce: as in `kerastransfer.ops.roi_align`.
    method: "matrices" runs on every backend, compiles and can be exported. "crop_and_resize" gives the same values for
        aligned boxes and at least one sample, and is faster on CPUs, but it only runs on TensorFlow, does not compile
        with XLA and does not convert to LiteRT. A sample exactly one pixel outside the map, where values end, may be
        rounded to either side.

    Boxes are cast to float32, whatever the layer computes in, and receive no gradient.
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
        # Half precision would move boxes by pixels.
        super().__init__(autocast=False, **kwargs)
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
        boxes = ops.cast(boxes, "float32")
        pool = self._by_matrices if self.method == "matrices" else self._by_crop_and_resize
        return pool(features, boxes)

    def compute_output_shape(self, features_shape, boxes_shape):
        return (*boxes_shape[:2], *self._bins(), features_shape[-1])

    def get_config(self):
        own = {name: getattr(self, name) for name in ("size", "sampling_ratio", "aligned", "reduce", "method")}
        return {**super().get_config(), **own}

    def _bins(self):
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def _by_crop_and_resize(self, features, boxes):
        """The gradient is computed with the matrices: with several threads, TensorFlow's own gradient loses some of the
        values that overlapping boxes add to a pixel."""
        import tensorflow as tf

        @tf.custom_gradient
        def pool(features):
            def gradient(upstream):
                with tf.GradientTape() as tape:
                    tape.watch(features)
                    pooled = self._by_matrices(features, boxes)
                return tape.gradient(pooled, features, upstream)

            pooled = crop_and_resize(features, boxes, self._bins(), self.sampling_ratio, self.reduce)
            return tf.cast(pooled, features.dtype), gradient

        return pool(features)

    def _by_matrices(self, features, boxes):
        options = {"sampling_ratio": self.sampling_ratio, "aligned": self.aligned, "reduce": self.reduce}
        return roi_align(features, boxes, self.size, **options)


def crop_and_resize(features, boxes, bins: tuple[int, int], sampling_ratio: int, reduce: str = "mean"):
    """Aligned RoIAlign with TensorFlow's operator of that name, in float32.

    The operator samples from corner to corner and not outside the map, so it is given the positions of the first and
    the last sample, on a map whose edges are repeated.
    """
    import tensorflow as tf

    batch, height, width, depth = ops.shape(features)
    number = ops.shape(boxes)[1]
    samples = [count * sampling_ratio for count in bins]
    bordered = tf.pad(tf.cast(features, "float32"), ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC")
    lengths = tf.cast([height, width], "float32")
    # 1 for the border minus 0.5 for the centre of a pixel.
    near, far = (sides * lengths + 0.5 for sides in (boxes[..., :2], boxes[..., 2:]))
    half_step = (far - near) / (2 * tf.constant(samples, "float32"))
    ends = tf.concat([near + half_step, far - half_step], -1) / tf.tile(lengths + 1, (2,))
    ends = tf.stop_gradient(tf.reshape(ends, (-1, 4)))
    crops = tf.image.crop_and_resize(bordered, ends, tf.repeat(tf.range(batch), number), samples)
    pool = tf.nn.avg_pool2d if reduce == "mean" else tf.nn.max_pool2d
    return tf.reshape(pool(crops, sampling_ratio, sampling_ratio, "VALID"), (batch, number, *bins, depth))

"""RoIAlign as a layer, with interpolation matrices or with TensorFlow's crop_and_resize."""

import keras
import numpy as np
from keras import ops

from kerastransfer.ops.roi_align import REDUCTIONS, roi_align

METHODS = ("auto", "matrices", "crop_and_resize")
OPTIONS = ("sampling_ratio", "aligned", "reduce", "method")
# Pixels of a map from which on `crop_and_resize` is faster on CPUs in float32 (benchmarks/roi_align.py --choice).
LARGE_MAP = 40 * 40


@keras.saving.register_keras_serializable(package="kerastransfer")
class RoIAlign(keras.layers.Layer):
    """Pools boxes from maps: from features (B, H, W, D) and boxes (B, N, (y1, x1, y2, x2)) as fractions of the map, to
    (B, N, P, P, D).

    size, sampling_ratio, aligned, reduce: as in `kerastransfer.ops.roi_align`.
    method: "matrices" runs on every backend, compiles and can be exported. "crop_and_resize" gives the same values for
        aligned boxes and at least one sample, but it only runs on TensorFlow, does not compile with XLA and does not
        convert to LiteRT. A sample exactly one pixel outside the map, where values end, may be rounded to either side.
        "auto" takes the faster one of the two: `crop_and_resize` for the mean in float32, from maps of 40 x 40 pixels
        on, whose size is known when a training step is traced on a CPU; the matrices everywhere else, where they are
        as fast (half precision, smaller maps) or alone possible (XLA, exports). A function that is traced first and
        then called from one that XLA compiles needs "matrices".

    Boxes are cast to float32, whatever the layer computes in, and receive no gradient.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        sampling_ratio: int = 2,
        aligned: bool = True,
        reduce: str = "mean",
        method: str = "auto",
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

    def call(self, features, boxes, training=None):
        options = {name: getattr(self, name) for name in OPTIONS}
        return pool(ops.cast(features, self.compute_dtype), boxes, self.size, training=training, **options)

    def compute_output_shape(self, features_shape, boxes_shape):
        return (*boxes_shape[:2], *_bins(self.size), features_shape[-1])

    def get_config(self):
        own = {name: getattr(self, name) for name in ("size", *OPTIONS)}
        return {**super().get_config(), **own}


def pool(
    features,
    boxes,
    size: int | tuple[int, int],
    *,
    sampling_ratio: int = 2,
    aligned: bool = True,
    reduce: str = "mean",
    method: str = "auto",
    training: bool | None = None,
):
    """RoIAlign by one of `METHODS`, in the type of `features`; arguments as those of `RoIAlign`.

    training: whether the values are for a training step.
    """
    boxes = ops.cast(boxes, "float32")
    if method == "auto":
        able = aligned and reduce == "mean" and sampling_ratio > 0
        faster = able and training is True and _large(features) and _in_plain_graph()
        method = "crop_and_resize" if faster else "matrices"

    def by_matrices(features):
        return roi_align(features, boxes, size, sampling_ratio=sampling_ratio, aligned=aligned, reduce=reduce)

    if method == "matrices":
        return by_matrices(features)
    import tensorflow as tf

    @tf.custom_gradient
    def cropped(features):
        # With several threads, TensorFlow's own gradient loses some of the values that overlapping boxes add to a
        # pixel.
        def gradient(upstream):
            with tf.GradientTape() as tape:
                tape.watch(features)
                found = by_matrices(features)
            return tape.gradient(found, features, upstream)

        found = crop_and_resize(features, boxes, _bins(size), sampling_ratio, reduce)
        return tf.cast(found, features.dtype), gradient

    return cropped(features)


def _in_plain_graph() -> bool:
    """Whether this call is traced for TensorFlow on a CPU, and not to be compiled by XLA."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    # An eager gradient would take the time of both methods.
    if tf.executing_eagerly() or tf.config.list_logical_devices("GPU"):
        return False
    return not control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def _large(features) -> bool:
    height, width = features.shape[1:3]
    known = height is not None and width is not None
    return known and height * width >= LARGE_MAP and keras.backend.standardize_dtype(features.dtype) == "float32"


def _bins(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def crop_and_resize(features, boxes, bins: tuple[int, int], sampling_ratio: int, reduce: str = "mean"):
    """Aligned RoIAlign with TensorFlow's operator of that name, in float32; NaN for boxes that are not finite, which
    that operator refuses.

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
    finite = tf.reduce_all(tf.math.is_finite(ends), -1)
    ends = tf.where(finite[:, None], ends, 0.0)
    crops = tf.image.crop_and_resize(bordered, ends, tf.repeat(tf.range(batch), number), samples)
    reduced = tf.nn.avg_pool2d if reduce == "mean" else tf.nn.max_pool2d
    pooled = tf.where(finite[:, None, None, None], reduced(crops, sampling_ratio, sampling_ratio, "VALID"), np.nan)
    return tf.reshape(pooled, (batch, number, *bins, depth))

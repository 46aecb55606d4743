"""RoIAlign as a layer, with interpolation matrices or with TensorFlow's crop_and_resize."""

import keras
from keras import ops

from kerastransfer.ops.roi_align import REDUCTIONS, roi_align

METHODS = ("auto", "matrices", "crop_and_resize")
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
        "auto" takes the faster one of the two: `crop_and_resize` for maps of 40 x 40 pixels and more in float32 on
        CPUs, where it can be used; in half precision, on smaller maps and on GPUs the matrices are faster.

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
        options = {name: getattr(self, name) for name in ("sampling_ratio", "aligned", "reduce", "method")}
        return pool(ops.cast(features, self.compute_dtype), boxes, self.size, training=training, **options)

    def compute_output_shape(self, features_shape, boxes_shape):
        return (*boxes_shape[:2], *_bins(self.size), features_shape[-1])

    def get_config(self):
        own = {name: getattr(self, name) for name in ("size", "sampling_ratio", "aligned", "reduce", "method")}
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

    training: whether the values are for a training step, which no exporter reads.
    """
    boxes = ops.cast(boxes, "float32")
    if method == "auto":
        able = aligned and sampling_ratio > 0 and _runs_crop_and_resize(training)
        method = "crop_and_resize" if able and _large(features) else "matrices"

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


def _runs_crop_and_resize(training) -> bool:
    """Whether this call runs on a CPU in TensorFlow, and is neither compiled by XLA nor traced for an export."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    if tf.config.list_logical_devices("GPU"):
        return False
    if tf.executing_eagerly():
        return True
    return training is True and not control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def _large(features) -> bool:
    height, width = features.shape[1:3]
    known = height is not None and width is not None
    return known and height * width >= LARGE_MAP and keras.backend.standardize_dtype(features.dtype) == "float32"


def _bins(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


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

"""The distance between features and codes (LabelEnc, Hao et al. 2020, equation 10)."""

from collections.abc import Mapping

from keras import ops

EPSILON = 1e-5


def distance(features: Mapping, codes: Mapping):
    """From adapted maps of the image and the codes of its label map, both {"p3": (B, h, w, D), ...}, to (B,): the mean
    squared difference over all channels and places of all levels, each level of an image normalized to mean 0 and
    variance 1 before. No gradient flows into the codes."""
    total, count = 0.0, 0.0
    for level, own in features.items():
        code = ops.stop_gradient(codes[level])
        _, *sides = ops.shape(own)
        total = total + ops.sum(ops.square(_normal(own) - _normal(code)), axis=(1, 2, 3))
        count = count + ops.cast(sides[0] * sides[1] * sides[2], "float32")
    return total / count


def _normal(x):
    x = ops.cast(x, "float32")
    mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
    variance = ops.mean(ops.square(x - mean), axis=(1, 2, 3), keepdims=True)
    return (x - mean) * ops.rsqrt(variance + EPSILON)

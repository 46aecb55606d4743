"""RoIAlign: pools the features within boxes to grids of a fixed size (Mask R-CNN, He et al. 2017, section 3).

The weights of a bilinear sample are products of weights along y and along x, and so is the rule for samples outside the
map. Therefore each box has a matrix of weights for each axis, and pooling is two matrix products.
"""

from keras import ops

REDUCTIONS = ("mean", "max")
# In pixels: a bin of two pixels, apart from rounding errors of the fractions, takes two samples and not three.
SLACK = 1e-4


def roi_align(
    features,
    boxes,
    size: int | tuple[int, int],
    *,
    sampling_ratio: int = 2,
    aligned: bool = True,
    reduce: str = "mean",
):
    """Pool boxes from maps: from features (B, H, W, D) and boxes (B, N, (y1, x1, y2, x2)) as fractions of the map to
    (B, N, P, P, D).

    size: P, or (rows, columns).
    sampling_ratio: samples per bin along each axis; with 0, as many as a bin has pixels, rounded up.
    aligned: whether the first pixel is centred at (0.5, 0.5). If not, which is the older form, it is centred at (0, 0),
        and boxes are at least one pixel long and wide.
    reduce: "mean" of the samples of a bin, or "max" (YOLO-Mask, section 3.3).

    Samples more than a pixel outside the map are 0. An aligned box that is turned inside out (x1 > x2, or y1 > y2)
    returns the mirror image of the box; if not aligned, it is one pixel wide. A box of zeros (padding) samples the
    corner of the map; with sampling_ratio 0 it returns 0.

    Weights are computed in float32 and multiplied in the type of `features`. No gradient flows to the boxes. With
    "max", memory grows with the number of samples: B * N * D times those along y times those along x. With
    sampling_ratio 0 these are about H + P by W + P.
    """
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce {reduce!r}: choose from {REDUCTIONS}")
    if sampling_ratio < 0:
        raise ValueError(f"sampling_ratio {sampling_ratio}: give 1 or more, or 0 for as many as a bin has pixels")
    rows, columns = (size, size) if isinstance(size, int) else size
    batch, height, width, depth = ops.shape(features)
    number = ops.shape(boxes)[1]
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    y = _Samples(boxes[..., 0], boxes[..., 2], rows, height, sampling_ratio, aligned)
    x = _Samples(boxes[..., 1], boxes[..., 3], columns, width, sampling_ratio, aligned)
    if reduce == "mean":
        pooled = _products(y.mean(), features, x.mean())
    else:
        pooled = _products(y.weights(), features, x.weights())
        pooled = x.largest(pooled, axis=2)
        pooled = y.largest(pooled, axis=1)
    return ops.reshape(pooled, (batch, number, rows, columns, depth))


class _Samples:
    """The places where boxes are sampled along one axis: T for each box, beginning at its near side.

    near, far: (B, N) fractions. bins: their number. length: that of the map, in pixels.
    """

    def __init__(self, near, far, bins, length, sampling_ratio, aligned):
        self.bins, self.length, self.ratio = bins, length, sampling_ratio
        near, far = (ops.expand_dims(side, -1) * ops.cast(length, "float32") for side in (near, far))
        first = near - 0.5 if aligned else near
        side = far - near if aligned else ops.maximum(far - near, 1.0)
        if sampling_ratio:
            index = ops.arange(bins * sampling_ratio, dtype="float32")
            self.places = first + (index + 0.5) * (side / (bins * sampling_ratio))
        else:
            self._adapt(first, side)

    def _adapt(self, first, side):
        """The samples of a box that are on the map: at most `length + bins` and a few, however large the box is.

        (Bins of more than k pixels have at most (k + 1) / k samples per pixel, so there are at most
        (length + 1) * (k + 1) / k + 1 on the map, and at most bins * (k + 1) in total.)
        """
        some = ops.abs(side) > 0
        per_bin = ops.maximum(ops.ceil(ops.abs(side) / self.bins - SLACK), 1.0)
        step = side / (self.bins * per_bin)
        several = per_bin > 1
        # Where the samples enter the map.
        entry = ops.where(side > 0, -1.0, ops.cast(self.length, "float32"))
        before = ops.floor((entry - first) / ops.where(several, step, 1.0) - 0.5)
        start = ops.where(several, ops.maximum(before, 0.0), 0.0)
        index = start + ops.arange(self.length + self.bins + 4, dtype="float32")
        # A box without extent has no samples; -2 is outside the map, where everything is 0.
        self.places = ops.where(some, first + (index + 0.5) * step, -2.0)
        self._bin = ops.floor((index + 0.5) / per_bin)
        self._per_bin = per_bin

    def weights(self):
        """The weight of each pixel in each sample, (B, N, T, length)."""
        last = ops.cast(self.length - 1, "float32")
        outside = ops.logical_or(self.places < -1, self.places > last + 1)
        place = ops.expand_dims(ops.minimum(ops.maximum(self.places, 0.0), last), -1)
        hats = ops.maximum(1 - ops.abs(place - ops.arange(self.length, dtype="float32")), 0.0)
        return ops.where(ops.expand_dims(outside, -1), 0.0, hats)

    def mean(self):
        """The weight of each pixel in each bin, (B, N, bins, length)."""
        weights = self.weights()
        if not self.ratio:
            return ops.matmul(self._members() / ops.expand_dims(self._per_bin, -1), weights)
        batch, number = ops.shape(weights)[:2]
        weights = ops.reshape(weights, (batch * number, self.bins, self.ratio, self.length))
        return ops.reshape(ops.mean(weights, axis=2), (batch, number, self.bins, self.length))

    def largest(self, values, axis):
        """The largest sample of each bin: reduces values (B * N, rows, columns, D) from T samples to the number of bins
        along `axis`, 1 or 2."""
        total, rows, columns, depth = ops.shape(values)
        if self.ratio:
            outer, inner = (total, columns * depth) if axis == 1 else (total * rows, depth)
            values = ops.max(ops.reshape(values, (outer, self.bins, self.ratio, inner)), axis=2)
            return ops.reshape(values, (total, *((self.bins, columns) if axis == 1 else (rows, self.bins)), depth))
        members = ops.reshape(self._members(), (total, self.bins, -1))
        # Bins some of whose samples are outside the map, where they are 0.
        missing = ops.sum(members, -1) < ops.reshape(self._per_bin, (-1, 1))
        found = []
        for number in range(self.bins):
            along = (total, -1, 1, 1) if axis == 1 else (total, 1, -1, 1)
            own = ops.reshape(members[:, number], along) > 0
            best = ops.max(ops.where(own, values, -float("inf")), axis=axis)
            floor = ops.where(missing[:, number], 0.0, -float("inf"))
            found.append(ops.maximum(best, ops.cast(ops.reshape(floor, (-1, 1, 1)), values.dtype)))
        return ops.stack(found, axis=axis)

    def _members(self):
        """(B, N, bins, T): 1 if a sample belongs to a bin."""
        numbers = ops.reshape(ops.arange(self.bins, dtype="float32"), (-1, 1))
        return ops.cast(ops.equal(ops.expand_dims(self._bin, -2), numbers), "float32")


def _products(y, features, x):
    """y (B, N, R, H) times features (B, H, W, D) times x (B, N, C, W) transposed: (B * N, R, C, D).

    Rows come first, in one product for all boxes of an image, so that neither features nor result are transposed.
    """
    batch, height, width, depth = ops.shape(features)
    number, rows = ops.shape(y)[1:3]
    y = ops.reshape(ops.cast(y, features.dtype), (batch, number * rows, height))
    x = ops.reshape(ops.cast(x, features.dtype), (batch * number, 1, -1, width))
    between = ops.matmul(y, ops.reshape(features, (batch, height, width * depth)))
    return ops.matmul(x, ops.reshape(between, (batch * number, rows, width, depth)))

"""Label maps: the annotations of an image as an image with a channel for each class (LabelEnc, Hao et al. 2020, section
3.4)."""

import keras
from keras import ops

from kerastransfer.ops.truths import fold, packed
from kerastransfer.vocabulary import FULL

# Number of objects at a time: memory grows with it times the size of the image.
BLOCK = 32


def label_map(boxes, labels, num_classes: int, size: tuple, *, factors=None, masks=None, frames=None):
    """From boxes (B, N, (y1, x1, y2, x2)) as fractions of the image and labels (B, N) to (B, H, W, K) float32.

    In a box the value is 1 at the centre and falls to 0.5 at the border, as a pyramid: 1 less the larger one of the
    distances to the centre along both axes, in widths and heights of the box. Outside it is 0. Where boxes of a class
    overlap, the larger value counts. Pixels are at whole numbers, from 0 to H - 1 and W - 1.

    size: (H, W). Boxes without area and those with a label below 0 or from `num_classes` on are left out.
    factors: (B, N), a number that the values of each box are multiplied by (`random_factors`).
    masks, frames: (B, N, m, m) crops of masks over frames (B, N, 4), as in batches; values are 0 outside the mask.
    """
    height, width = size
    batch, number = ops.shape(labels)[0], labels.shape[1]
    boxes = ops.cast(boxes, "float32")
    sides = boxes[..., 2:] - boxes[..., :2]
    there = ops.logical_and(ops.logical_and(labels >= 0, labels < num_classes), ops.min(sides, axis=-1) > 0)
    extra = [ops.ones_like(sides[..., 0]) if factors is None else ops.cast(factors, "float32")]
    # Behind the boxes, so that all are reordered alike.
    order = ops.cast(ops.broadcast_to(ops.arange(ops.shape(labels)[1]), ops.shape(labels)), "float32")
    rows, kinds = packed(
        ops.concatenate([boxes, ops.stack([*extra, order], axis=-1)], axis=-1), ops.where(there, labels, -1)
    )
    y, x = ops.arange(height, dtype="float32"), ops.arange(width, dtype="float32")

    def draw(drawn, rows, kinds, _):
        own = kinds.shape[1]
        near, far, factor = rows[..., :2], rows[..., 2:4], rows[..., 4:5]
        scale = ops.cast(ops.stack([height, width]), "float32")
        middle, side = (near + far) / 2 * scale, ops.maximum((far - near) * scale, 1e-6)
        down = _inside(1 - ops.abs(y - middle[..., :1]) / side[..., :1]) * factor
        along = _inside(1 - ops.abs(x - middle[..., 1:]) / side[..., 1:]) * factor
        values = ops.minimum(ops.expand_dims(down, 3), ops.expand_dims(along, 2))
        if masks is not None:
            index = ops.cast(rows[..., 5], "int32")
            values = values * _pasted(_of(masks, index), _of(frames, index), y / height, x / width)
        # The largest values of a class go to the first of its boxes.
        same = ops.logical_and(ops.equal(ops.expand_dims(kinds, 1), ops.expand_dims(kinds, 2)), kinds[:, None] >= 0)
        first = ops.cast(ops.argmax(ops.cast(same, "int32"), axis=2), "int32")
        place = ops.reshape(first + own * ops.reshape(ops.arange(batch), (-1, 1)), (-1,))
        largest = ops.segment_max(ops.reshape(values, (batch * own, height * width)), place, batch * own)
        firsts = ops.logical_and(ops.equal(first, ops.arange(own)), kinds >= 0)
        # Then every class has one box at most: a product with ones and zeros puts it there, in the order (H, W, K).
        channel = ops.one_hot(ops.where(firsts, kinds, -1), num_classes)
        largest = ops.where(ops.reshape(firsts, (-1, 1)), largest, 0.0)
        found = ops.einsum("bnp,bnk->bpk", ops.reshape(largest, (batch, own, height * width)), channel)
        return ops.maximum(drawn, found) if drawn is not None else found

    start = None if number is not None and number <= BLOCK else ops.zeros((batch, height * width, num_classes))
    return ops.reshape(fold(draw, start, rows, kinds, block=BLOCK), (batch, height, width, num_classes))


def _inside(value):
    """The value where it is at least 0.5, else 0. A pixel on the border counts, whatever rounding made of the
    fractions."""
    return ops.where(value >= 0.5 - 1e-4, value, 0.0)


def random_factors(labels, seed: keras.random.SeedGenerator):
    """A factor for each box, labels (B, N): 1 with probability 1/2, else uniform in 0..1 (the authors' code)."""
    return ops.minimum(1.0, 2 * keras.random.uniform(ops.shape(labels), seed=seed))


def _of(values, index):
    """The rows (B, n, ...) of values (B, N, ...)."""
    flat = ops.reshape(values, (*ops.shape(values)[:2], -1))
    rows = ops.take_along_axis(flat, ops.expand_dims(index, -1), axis=1)
    return ops.reshape(rows, (*ops.shape(index), *values.shape[2:]))


def _pasted(crops, frames, y, x):
    """Crops (B, n, m, m) of 0..255 over frames (B, n, 4), which are inside out in mirrored images, at the pixels y (H,)
    and x (W,), fractions of the image: (B, n, H, W) of 0 and 1."""
    side = crops.shape[-1]
    crops = ops.cast(ops.cast(crops, "float32") >= FULL / 2, "float32")

    def cells(near, far, at):
        span = far - near
        where = (at - near) / ops.where(ops.equal(span, 0), 1.0, span)
        inside = ops.logical_and(ops.logical_and(where >= 0, where < 1), ops.not_equal(span, 0))
        return ops.cast(ops.clip(where * side, 0, side - 1), "int32"), ops.cast(inside, "float32")

    rows, down = cells(frames[..., 0:1], frames[..., 2:3], y)
    columns, along = cells(frames[..., 1:2], frames[..., 3:4], x)
    found = ops.take_along_axis(crops, ops.expand_dims(rows, 3), axis=2)
    found = ops.take_along_axis(found, ops.expand_dims(columns, 2), axis=3)
    return found * ops.expand_dims(down, 3) * ops.expand_dims(along, 2)


@keras.saving.register_keras_serializable(package="kerastransfer")
class LabelMap(keras.layers.Layer):
    """`label_map` in a graph: from annotations {"boxes", "labels"} and the image (B, H, W, 3) to (B, H, W, K).

    num_classes: K. vary: multiply the values of each box by a random factor while training. masks: draw the masks of
    the objects; annotations then have "masks" and "frames" too. seed: of the factors.
    """

    def __init__(self, num_classes: int, *, vary: bool = False, masks: bool = False, seed: int | None = None, **kwargs):
        super().__init__(**{"autocast": False, **kwargs, "dtype": "float32"})
        self.num_classes, self.vary, self.masks, self.seed = num_classes, vary, masks, seed
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, annotations, image, training=None):
        size = tuple(image.shape[1:3]) if None not in image.shape[1:3] else tuple(ops.shape(image)[1:3])
        labels = annotations["labels"]
        factors = random_factors(labels, self.seeds) if self.vary and training else None
        crops = {name: annotations[name] for name in ("masks", "frames")} if self.masks else {}
        return label_map(annotations["boxes"], labels, self.num_classes, size, factors=factors, **crops)

    def compute_output_spec(self, annotations, image, training=None):
        return keras.KerasTensor((*image.shape[:3], self.num_classes), "float32")

    def get_config(self):
        names = ("num_classes", "vary", "masks", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

"""Augmentation of a batch: one window per image moves pixels, boxes and maps together."""

import dataclasses

import tensorflow as tf

from kerastransfer.data.fields import PADDING
from kerastransfer.vocabulary import GREY, VOID


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What may happen to an image.

    flip: probability of a mirror image, left to right.
    scale: sides of the window that is cut out, as a fraction of the image's, drawn from this interval; above 1 the
        image shrinks and grey (void) surrounds it.
    aspect: the window's height and width differ by a factor of up to this.
    area: if given, the window's area, as a share of the image's, is drawn from this interval, and its aspect ratio
        from [1 / aspect, aspect], until it fits into the image (the random resized crop of Szegedy et al. 2015, section
        6, and SimCLR); `scale` is then ignored.
    brightness, contrast, saturation: factors drawn from [1 - x, 1 + x].
    mosaic: share of each batch in which four images stand in one, each at half size.
    visible: a box of which less than this share stays in the picture is dropped.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.6, 1.2)
    aspect: float = 1.25
    area: tuple[float, float] | None = None
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.5
    mosaic: float = 0.0
    visible: float = 0.3


# Windows that are drawn until one of them fits, as in SimCLR's code.
TRIES = 100

FLIP_ONLY = Augmentation(scale=(1.0, 1.0), aspect=1.0, brightness=0.0, contrast=0.0, saturation=0.0)


def augment(batch: dict, seed, how: Augmentation, size: tuple[int, int], *, share: tuple[int, int] = (0, 1)) -> dict:
    """{"image": (B, h, w, 3) uint8, and any of "boxes" (B, N, 4) with "labels" (B, N), "masks" (B, N, m, m) with
    "frames" (B, N, 4) and other attributes of objects beside boxes, "segmentation" (B, h, w), "label" (B,)}, B known,
    to the same with images float32 in 0..255 and maps at `size` (H, W), two numbers or two tensors.

    A frame moves as its box does, but is not clipped, and in a mirror image it is turned inside out, x1 > x2: its mask
    stays as it is. Where a box is dropped, or there is no mask, the frame is zeros.

    seed: (2,) integers; the same seed gives the same batch, wherever and however parallel it is made. A mosaic has
    four times as many boxes, so N becomes 4 N when there are any.
    share: (i, n) when these are the i-th of n equal parts of a batch: then what is drawn is what the whole batch would
    draw for them. Mosaics are made of images of the same part.
    """
    seed, count = tf.convert_to_tensor(seed), batch["image"].shape[0]
    mosaics = round(how.mosaic * count)
    pieces = []
    if mosaics:
        pieces.append(_mosaic(batch, seed, how, size, mosaics, share))
    if mosaics < count:
        plain = {name: value[mosaics:] for name, value in batch.items()}
        pieces.append(_cut(plain, _windows(count - mosaics, seed, how, share), how, size))
    out = {name: _stack([piece[name] for piece in pieces], PADDING.get(name)) for name in pieces[0]}
    out["image"] = _recolour(out["image"], seed + 7, how, share)
    return out


def _draw(count, shape, seed, share, low=0.0, high=1.0):
    """(count, *shape) uniform numbers: the part of a share of what all shares together draw."""
    part, parts = share
    drawn = tf.random.stateless_uniform((count * parts, *shape), seed, low, high)
    return drawn[part * count : (part + 1) * count]


def _stack(values, padding):
    """Concatenate batches, boxes padded to the longest, which is the first."""
    if len(values) > 1 and values[0].shape[1:] != values[1].shape[1:]:
        missing = tf.shape(values[0])[1] - tf.shape(values[1])[1]
        rest = [[0, 0]] * (len(values[1].shape) - 2)
        values = [values[0], tf.pad(values[1], [[0, 0], [0, missing], *rest], constant_values=padding)]
    return tf.concat(values, 0)


def _windows(count, seed, how, share):
    """(count, (y1, x1, y2, x2)) in fractions of the image; x1 > x2 mirrors."""
    u = _draw(count, (5,), seed, share)
    if how.area is None:
        scale = how.scale[0] + (how.scale[1] - how.scale[0]) * u[:, 0]
        stretch = tf.exp(tf.math.log(how.aspect) * (u[:, 1] - 0.5))
        sides = tf.stack([scale * stretch, scale / stretch], -1)
    else:
        sides = _sides_of_areas(count, seed + 3, how, share)
    # A window inside the image stays inside, and one around it stays around it.
    near = (1 - sides) * u[:, 2:4]
    far = near + sides
    mirror = (u[:, 4] < how.flip)[:, None]
    return tf.concat(
        [near[:, :1], tf.where(mirror, far, near)[:, 1:], far[:, :1], tf.where(mirror, near, far)[:, 1:]], -1
    )


def _sides_of_areas(count, seed, how, share):
    """(count, (height, width)): the first of several windows of a random area and aspect ratio that fits into the
    image, or the whole image if none does."""
    u = _draw(count, (TRIES, 2), seed, share)
    area = how.area[0] + (how.area[1] - how.area[0]) * u[..., 0]
    root = tf.exp(tf.math.log(how.aspect) * (u[..., 1] - 0.5))
    sides = tf.sqrt(area)[..., None] * tf.stack([root, 1 / root], -1)
    fits = tf.reduce_all(sides <= 1, -1)
    first = tf.gather(sides, tf.argmax(tf.cast(fits, "int32"), 1), batch_dims=1)
    return tf.where(tf.reduce_any(fits, 1)[:, None], first, tf.ones_like(first))


def _cut(batch, windows, how, size):
    out = {"image": _sample(batch["image"], windows, size, "bilinear", GREY)}
    if "segmentation" in batch:
        maps = _sample(batch["segmentation"][..., None], windows, size, "nearest", float(VOID))
        out["segmentation"] = tf.cast(maps[..., 0], "uint8")
    if "boxes" in batch:
        out["boxes"], out["labels"] = _move(batch["boxes"], batch["labels"], windows, how.visible)
    if "masks" in batch:
        frames = batch["frames"]
        there = tf.logical_and(out["labels"] >= 0, _area(frames) > 0)
        out["frames"] = tf.where(there[..., None], _seen_from(windows, frames), 0.0)
    out |= {name: batch[name] for name in PADDING if name in batch and name not in out}
    if "label" in batch:
        out["label"] = batch["label"]
    return out


def _sample(images, windows, size, method, outside):
    """Centres of output pixels, spread over the window, look up the image. `crop_and_resize` counts corner to corner,
    from the centre of the first pixel to the centre of the last, so the window is brought to that form."""
    near, far = windows[:, :2], windows[:, 2:]
    half = (far - near) / (2 * tf.cast(size, "float32"))
    extent = tf.tile(tf.cast(tf.shape(images)[1:3], "float32"), [2])
    # Between an image's border and the centres of its outer pixels lies no grey: the edge is repeated once.
    images = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    corners = (tf.concat([near + half, far - half], -1) * extent + 0.5) / (extent + 1)
    return tf.image.crop_and_resize(
        images, corners, tf.range(tf.shape(images)[0]), size, method=method, extrapolation_value=outside
    )


def _move(boxes, labels, windows, visible):
    y1, x1, y2, x2 = tf.unstack(_seen_from(windows, boxes), axis=-1)
    # A mirror image swaps left and right.
    moved = tf.stack([y1, tf.minimum(x1, x2), y2, tf.maximum(x1, x2)], -1)
    clipped = tf.clip_by_value(moved, 0.0, 1.0)
    seen = _area(clipped) / tf.maximum(_area(moved), 1e-9)
    real = tf.logical_and(labels >= 0, tf.logical_and(seen >= visible, _area(clipped) > 0))
    return tf.where(real[..., None], clipped, 0.0), tf.where(real, labels, -1)


def _seen_from(windows, boxes):
    """Boxes (B, N, 4) of images as fractions of their windows; a window that mirrors turns them inside out."""
    near, far = windows[:, None, :2], windows[:, None, 2:]
    return tf.concat([(boxes[..., :2] - near) / (far - near), (boxes[..., 2:] - near) / (far - near)], -1)


def _area(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _mosaic(batch, seed, how, size, count, share):
    """The first `count` images of the batch, each with three others, in the four quarters of one picture."""
    middle, extent = (size[0] // 2, size[1] // 2), tf.cast(tuple(size) * 2, "float32")
    quarters = []
    for number, (down, right) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        others = {name: tf.roll(value, -number, 0)[:count] for name, value in batch.items() if name != "label"}
        near = middle[0] * down, middle[1] * right
        part = size[0] - near[0] if down else middle[0], size[1] - near[1] if right else middle[1]
        cut = _cut(others, _windows(count, seed + 11 * (number + 1), how, share), how, part)
        for name in ("boxes", "frames"):
            if name in cut:
                moved = (cut[name] * tf.cast(part * 2, "float32") + tf.cast(near * 2, "float32")) / extent
                there = tf.reduce_any(cut[name] != 0, -1, keepdims=True)
                cut[name] = tf.where(there, moved, 0.0)
        quarters.append(cut)

    def join(name):
        values = [cut[name] for cut in quarters]
        if name in PADDING:
            return tf.concat(values, 1)
        return tf.concat([tf.concat(values[:2], 2), tf.concat(values[2:], 2)], 1)

    out = {name: join(name) for name in quarters[0]}
    return out | {"label": batch["label"][:count]} if "label" in batch else out


def _recolour(images, seed, how, share):
    """Contrast about the image's mean, saturation about its grey, brightness: (B, H, W, 3) float32 in 0..255."""
    if not (how.brightness or how.contrast or how.saturation):
        return images
    u = _draw(images.shape[0], (3, 1, 1, 1), seed, share, -1.0, 1.0)
    brightness, contrast, saturation = (
        1 + how.brightness * u[:, 0],
        1 + how.contrast * u[:, 1],
        1 + how.saturation * u[:, 2],
    )
    # Slices and sums: `reduce_sum` is slow over an axis of 3.
    grey = sum(part * images[..., n : n + 1] for n, part in enumerate((0.299, 0.587, 0.114)))
    mean = tf.reduce_mean(grey, (1, 2), keepdims=True)
    # brightness * (mean + contrast * (grey + saturation * (image - grey) - mean)), with few passes over the images.
    kept = brightness * contrast
    images = kept * saturation * images + (kept * (1 - saturation) * grey + brightness * (1 - contrast) * mean)
    return tf.clip_by_value(images, 0.0, 255.0)

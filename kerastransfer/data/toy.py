"""Drawn scenes with exact boxes and masks: the benchmark that needs no download.

A scene holds one to six discs, squares, triangles and stars, which overlap and leave the image, on a textured ground
among clutter: blobs, splinters, strokes and broken outlines. Each class has a hue and a texture that it mostly wears,
but clutter wears them as often as not, and the ground at times: what is an object, only its outline tells.
"""

import functools

import numpy as np
from PIL import Image, ImageDraw

from kerastransfer.data.dataset import Dataset, Example, Sample

CLASSES = ("disc", "square", "triangle", "star")
FIELDS = frozenset({"boxes", "masks", "segmentation"})

MOST_OBJECTS = 6
RADII = (0.14, 0.28)  # of the circle around an object, in fractions of the image
USUAL = 0.8  # how often an object wears the hue and the texture of its class
HUE_SPREAD = 0.07  # of the colour wheel
LEAST_VISIBLE = 0.5  # of an object's area: what is hidden or outside beyond that is not drawn at all
TILT = 0.5  # radians either way: like most things, objects have an upper end
PLACEMENTS = 12  # tries for each object
SUPERSAMPLING = 4


def toy(seed: int = 0, count: int = 480, image_size: int = 256) -> Dataset:
    """`count` scenes of image_size x image_size pixels, the same on every run with the same seed.

    A scene depends on `seed` and its own number alone, so a longer data set starts with the shorter one.
    """
    samples = (
        Sample(name=f"{index:05d}", read=functools.partial(_scene, seed, index, image_size), fields=FIELDS)
        for index in range(count)
    )
    return Dataset("toy", tuple(samples), classes=CLASSES, segmentation_classes=("background", *CLASSES))


def _scene(seed: int, index: int, size: int) -> Example:
    return {field: values.copy() for field, values in _drawn(seed, index, size).items()}


@functools.lru_cache(maxsize=128)  # a test set is read some ten times by scores and exports; 0.7 MB a scene
def _drawn(seed: int, index: int, size: int) -> Example:
    rng = np.random.default_rng((seed, index))
    canvas = _texture(rng, size, size, size, _colours(rng, vivid=rng.uniform(0.4, 0.8)))
    for _ in range(rng.integers(2, 6)):
        _paint(canvas, _raster(*_clutter(rng, size), size), rng)

    placed = _place(rng, size)
    owner = np.full((size, size), -1)
    for number, (label, patch) in enumerate(placed):
        _paint(canvas, patch, rng, label if rng.uniform() < USUAL else None)
        _claim(owner, patch, number)
    masks = owner == np.arange(len(placed))[:, None, None]
    labels = np.array([label for label, _ in placed], np.int32)
    return {
        "image": _photograph(rng, canvas),
        "boxes": np.stack([_box(mask) for mask in masks]),
        "labels": labels,
        "crowd": np.zeros(len(labels), bool),
        "difficult": np.zeros(len(labels), bool),
        "area": masks.sum(axis=(1, 2)).astype(np.float32),
        "masks": masks,
        "segmentation": np.where(owner < 0, 0, labels[owner] + 1).astype(np.uint8),
    }


def _place(rng, size):
    """Objects from back to front as (label, patch), each of them visible enough."""
    placed, areas, owner = [], [], np.full((size, size), -1)
    for _ in range(1 + rng.binomial(MOST_OBJECTS - 1, 0.35)):
        for _ in range(PLACEMENTS):
            label = int(rng.integers(len(CLASSES)))
            radius = size * RADII[0] * (RADII[1] / RADII[0]) ** rng.uniform()
            outline = _pose(rng, OUTLINES[label], radius, size, TILT)
            patch = _raster(outline, None, size)
            tried = owner.copy()
            _claim(tried, patch, len(placed))
            full = np.array([*areas, _area(outline)])
            visible = np.bincount(tried[tried >= 0], minlength=len(full))
            if (visible >= LEAST_VISIBLE * full).all():
                placed.append((label, patch))
                areas, owner = list(full), tried
                break
    return placed or _place(rng, size)


def _polygon(corners, inner=1.0):
    """Corners (P, (y, x)) on the unit circle, the first at the top; every other one at radius `inner`."""
    angles = 2 * np.pi * np.arange(corners) / corners
    radii = np.where(np.arange(corners) % 2, inner, 1.0)[:, None]
    return radii * np.stack([-np.cos(angles), np.sin(angles)], axis=-1)


OUTLINES = (_polygon(48), _polygon(4) @ np.array([[1, 1], [-1, 1]]) / np.sqrt(2), _polygon(3), _polygon(10, 0.45))


def _pose(rng, outline, radius, size, tilt=np.pi):
    """An outline (P, (y, x)) squeezed, turned and moved somewhere into the image, in pixels."""
    angle = rng.uniform(-tilt, tilt)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    squeezed = outline * (1.0, rng.uniform(0.65, 1.0))
    return radius * squeezed @ turn + rng.uniform(0.05 * size, 0.95 * size, 2)


def _clutter(rng, size):
    """Something that is no object: (points (P, (y, x)), line width, or None for a filled outline)."""
    kind, radius = rng.integers(4), size * rng.uniform(0.06, 0.22)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    if kind == 0:  # a blob: a circle under three waves
        waves = sum(rng.uniform(0.1, 0.3) * np.sin(n * angles + rng.uniform(0, 6)) for n in (2, 3, 5))
        return _pose(rng, _polygon(48) * (0.8 + waves)[:, None], radius, size), None
    if kind == 1:  # a splinter, far too thin for a triangle or a square
        return _pose(rng, _polygon(4) * (1.5, 0.15), radius, size), None
    if kind == 2:  # a stroke
        bend = np.stack([np.linspace(-1, 1, 24), rng.uniform(-1, 1) * np.sin(np.linspace(0, rng.uniform(1, 7), 24))], 1)
        return _pose(rng, bend, 1.6 * radius, size), size * rng.uniform(0.01, 0.04)
    outline = OUTLINES[rng.integers(len(OUTLINES))]  # part of an object's outline
    closed = np.concatenate([outline, outline[:1]])
    kept = max(2, round(rng.uniform(0.4, 0.75) * len(closed)))
    return _pose(rng, closed[:kept], radius, size), size * rng.uniform(0.01, 0.025)


def _raster(points, width, size):
    """Rows and columns of the image and how much of each of their pixels is covered, 0..1."""
    margin = 1 + (width or 0) / 2
    top, left = np.clip(np.floor(points.min(0) - margin), 0, size - 1).astype(int)
    bottom, right = np.clip(np.ceil(points.max(0) + margin), 1, size).astype(int)
    fine = Image.new("L", ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING))
    draw = ImageDraw.Draw(fine)
    corners = [tuple(corner) for corner in (points - (top, left))[:, ::-1] * SUPERSAMPLING]
    if width is None:
        draw.polygon(corners, fill=255)
    else:
        draw.line(corners, fill=255, width=max(1, round(width * SUPERSAMPLING)), joint="curve")
    covered = np.asarray(fine.reduce(SUPERSAMPLING), np.float32) / 255
    return slice(top, bottom), slice(left, right), covered


def _claim(owner, patch, number):
    rows, columns, covered = patch
    owner[rows, columns][covered >= 0.5] = number


def _colours(rng, label=None, vivid=1.0):
    """Two colours (2, (r, g, b)) near one hue, that of the class or any; less vivid is darker and greyer."""
    hue = (rng.uniform() if label is None else label / len(CLASSES)) + rng.normal(0, HUE_SPREAD, (2, 1))
    saturation = rng.uniform(0.25, 0.8, (2, 1)) * vivid
    value = 255 * np.clip(rng.uniform(0.5, 1.0, (2, 1)) * vivid, 0, 1)
    wheel = np.clip(np.abs((6 * hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)  # pure red, green, blue of each hue
    return value * (1 - saturation * (1 - wheel))


def _paint(canvas, patch, rng, label=None):
    """Cover a part of the canvas with what the class wears, or with anything.

    It is lit from one side, so that an edge shows on any ground.
    """
    rows, columns, covered = patch
    size = len(canvas)
    step = max(1, size // 160)
    around = np.pad(covered, step, mode="edge")
    relief = around[2 * step :, 2 * step :] - around[: -2 * step, : -2 * step]
    texture = _texture(rng, *covered.shape, size, _colours(rng, label), label) + 40 * relief[..., None]
    canvas[rows, columns] += covered[..., None] * (texture - canvas[rows, columns])


def _texture(rng, height, width, size, colours, label=None):
    """Two colours mixed by a gradient, stripes, checks or cloudy noise, as the class has it or any: (H, W, 3)."""
    first, second = colours
    y, x = np.arange(height, dtype=np.float32)[:, None] / size, np.arange(width, dtype=np.float32) / size
    angle, frequency, phase = rng.uniform(0, np.pi), rng.uniform(25, 90), rng.uniform(0, 6)
    along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    kind = rng.integers(4) if label is None else label
    if kind == 0:
        mix = (along - along.min()) / (np.ptp(along) + 1e-6) * 2 - 1
    elif kind == 1:
        mix = np.sin(frequency * along + phase)
    elif kind == 2:
        mix = np.sin(frequency * along + phase) * np.sin(frequency * across)
    else:
        cells = max(3, round(frequency / 6))
        coarse = Image.fromarray(rng.normal(0, 0.8, (cells, cells)).astype(np.float32))
        mix = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    mix = np.clip(1.6 * mix, -1, 1)[..., None]
    return ((first + second) / 2 + mix * (first - second) / 2).astype(np.float32)


def _photograph(rng, canvas):
    """Uneven light and sensor noise: (H, W, 3) uint8."""
    size = len(canvas)
    light = Image.fromarray(rng.uniform(0.75, 1.2, (3, 3)).astype(np.float32))
    light = np.asarray(light.resize((size, size), Image.Resampling.BICUBIC))[..., None]
    noise = rng.uniform(2, 9) * rng.standard_normal(canvas.shape, np.float32)
    return np.clip(canvas * light + noise, 0, 255).astype(np.uint8)


def _area(polygon):
    """The shoelace formula, in pixels."""
    (y, x), (following_y, following_x) = polygon.T, np.roll(polygon, -1, 0).T
    return abs(np.sum(x * following_y - following_x * y)) / 2


def _box(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float32) / len(mask)

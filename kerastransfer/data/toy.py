"""Drawn scenes with exact boxes and masks: the benchmark that needs no download.

A scene holds a few discs, squares, triangles and stars, which overlap and leave the image, on a textured ground among
clutter. Each class has a hue and a texture that it mostly wears. How hard that is, a row of `DIFFICULTIES` says. `toy`
is for a first look: large objects, dull clutter. In `toy-hard` clutter and ground wear the colours of objects as often
as not, and some clutter is part of an outline: what is an object, only its whole outline tells.
"""

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw

from kerastransfer.data.dataset import Dataset, Example, Sample

CLASSES = ("disc", "square", "triangle", "star")
FIELDS = frozenset({"boxes", "masks", "segmentation"})

# A share of the colour wheel.
HUE_SPREAD = 0.07
# A share of an object's area. An object that is hidden or outside beyond that is not drawn at all.
LEAST_VISIBLE = 0.5
# In radians, either way: like most things, objects have an upper end.
TILT = 0.5
# The number of tries for each object.
PLACEMENTS = 12
SUPERSAMPLING = 4


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How many scenes there are, and what they are drawn by; ranges are of uniform random numbers."""

    count: int
    """Scenes, unless a number is given."""
    most_objects: int
    """The least is one."""
    share_of_objects: float
    """Probability of each object beyond the first."""
    radii: tuple[float, float]
    """Of the circle around an object, in fractions of the image."""
    usual: float
    """How often an object wears the hue and the texture of its class."""
    saturation: tuple[float, float]
    """Of the colours of an object and, before it is made duller, of everything else."""
    clutter: tuple[int, int]
    """Pieces of clutter; the second is one more than the most."""
    kinds: int
    """Of clutter: blobs, splinters and strokes are three, parts of objects' outlines the fourth."""
    clutter_vivid: float
    """Clutter of 1 is as bright and colourful as an object; below it is darker and greyer."""
    ground_vivid: tuple[float, float]
    """The same of the ground."""


DIFFICULTIES: Mapping[str, Difficulty] = MappingProxyType(
    {
        "toy": Difficulty(
            count=800,
            most_objects=4,
            share_of_objects=0.4,
            radii=(0.2, 0.34),
            usual=0.95,
            saturation=(0.45, 0.85),
            clutter=(1, 4),
            kinds=3,
            clutter_vivid=0.6,
            ground_vivid=(0.3, 0.6),
        ),
        "toy-hard": Difficulty(
            count=480,
            most_objects=6,
            share_of_objects=0.35,
            radii=(0.14, 0.28),
            usual=0.8,
            saturation=(0.25, 0.8),
            clutter=(2, 6),
            kinds=4,
            clutter_vivid=1.0,
            ground_vivid=(0.4, 0.8),
        ),
    }
)


def toy(seed: int = 0, count: int | None = None, image_size: int = 256, *, difficulty: str = "toy") -> Dataset:
    """`count` scenes of image_size x image_size pixels, the same on every run with the same seed.

    count: by default as many as the difficulty says. A scene depends on `difficulty` (a row of `DIFFICULTIES`), `seed`
    and its own number alone, so a longer data set starts with the shorter one.
    """
    how = DIFFICULTIES[difficulty]
    draw = functools.partial(_scene, difficulty, seed, size=image_size)
    samples = (
        Sample(name=f"{index:05d}", read=functools.partial(draw, index), fields=FIELDS)
        for index in range(how.count if count is None else count)
    )
    return Dataset(difficulty, tuple(samples), classes=CLASSES, segmentation_classes=("background", *CLASSES))


def _scene(difficulty: str, seed: int, index: int, size: int) -> Example:
    """An example of the reader's own: it may change it."""
    image, owner, labels, truncated, hidden = _drawn(difficulty, seed, index, size)
    masks = owner == np.arange(len(labels))[:, None, None]
    return {
        "image": image.copy(),
        "boxes": np.stack([_box(mask) for mask in masks]),
        "labels": labels.copy(),
        "crowd": np.zeros(len(labels), bool),
        "difficult": np.zeros(len(labels), bool),
        "area": masks.sum(axis=(1, 2)).astype(np.float32),
        "truncated": truncated.copy(),
        "occluded": hidden > 0,
        "hidden": hidden.copy(),
        "masks": masks,
        "segmentation": np.where(owner < 0, 0, labels[owner] + 1).astype(np.uint8),
    }


# A training set is read for checks, anchors and each phase, a test set some ten times by scores and exports. A scene of
# 256 x 256 pixels takes 0.26 MB.
@functools.lru_cache(maxsize=1024)
def _drawn(difficulty: str, seed: int, index: int, size: int) -> tuple[np.ndarray, ...]:
    """Image (H, W, 3) uint8; the number of the object at each pixel (H, W) int8, -1 for none; labels (N,) int32;
    truncated (N,) bool; hidden (N,) float32."""
    how = DIFFICULTIES[difficulty]
    rng = np.random.default_rng((seed, index))
    canvas = _texture(rng, size, size, size, _colours(rng, how, vivid=rng.uniform(*how.ground_vivid)))
    for _ in range(rng.integers(*how.clutter)):
        _paint(canvas, _raster(*_clutter(rng, size, how.kinds), size), rng, how, vivid=how.clutter_vivid)

    placed = _place(rng, size, how)
    owner = np.full((size, size), -1, np.int8)
    for number, (label, patch, _) in enumerate(placed):
        _paint(canvas, patch, rng, how, label if rng.uniform() < how.usual else None)
        _claim(owner, patch, number)
    labels = np.array([label for label, _, _ in placed], np.int32)
    return _photograph(rng, canvas), owner, labels, *_unseen(placed, owner)


def _unseen(placed, owner):
    """Which objects reach out of the image (N,) bool, and the share of each that later ones cover (N,) float32."""
    size = len(owner)
    truncated = [(outline.min() < 0) | (outline.max() > size) for _, _, outline in placed]
    inside = np.array([_inside(patch).sum() for _, patch, _ in placed])
    visible = np.bincount(owner[owner >= 0], minlength=len(placed))
    # Of an object that is all inside the image the pixels are counted, so that nothing hidden is exactly 0 and the
    # share is exact.
    whole = np.where(truncated, np.maximum(inside, [_area(outline) for _, _, outline in placed]), inside)
    return np.array(truncated, bool), ((inside - visible) / whole).astype(np.float32)


def _place(rng, size, how):
    """Objects from back to front as (label, patch, outline), each of them visible enough."""
    placed, areas, owner = [], [], np.full((size, size), -1)
    for _ in range(1 + rng.binomial(how.most_objects - 1, how.share_of_objects)):
        for _ in range(PLACEMENTS):
            label = int(rng.integers(len(CLASSES)))
            radius = size * how.radii[0] * (how.radii[1] / how.radii[0]) ** rng.uniform()
            outline = _pose(rng, OUTLINES[label], radius, size, TILT)
            patch = _raster(outline, None, size)
            tried = owner.copy()
            _claim(tried, patch, len(placed))
            full = np.array([*areas, _area(outline)])
            visible = np.bincount(tried[tried >= 0], minlength=len(full))
            if (visible >= LEAST_VISIBLE * full).all():
                placed.append((label, patch, outline))
                areas, owner = list(full), tried
                break
    return placed or _place(rng, size, how)


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


def _clutter(rng, size, kinds):
    """Something that is no object: (points (P, (y, x)), line width, or None for a filled outline)."""
    kind, radius = rng.integers(kinds), size * rng.uniform(0.06, 0.22)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    if kind == 0:
        # A blob: a circle under three waves.
        waves = sum(rng.uniform(0.1, 0.3) * np.sin(n * angles + rng.uniform(0, 6)) for n in (2, 3, 5))
        return _pose(rng, _polygon(48) * (0.8 + waves)[:, None], radius, size), None
    if kind == 1:
        # A splinter, far too thin for a triangle or a square.
        return _pose(rng, _polygon(4) * (1.5, 0.15), radius, size), None
    if kind == 2:
        # A stroke.
        bend = np.stack([np.linspace(-1, 1, 24), rng.uniform(-1, 1) * np.sin(np.linspace(0, rng.uniform(1, 7), 24))], 1)
        return _pose(rng, bend, 1.6 * radius, size), size * rng.uniform(0.01, 0.04)
    # A part of an object's outline.
    outline = OUTLINES[rng.integers(len(OUTLINES))]
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
    rows, columns, _ = patch
    owner[rows, columns][_inside(patch)] = number


def _inside(patch):
    """The pixels of the patch that belong to the object, those that it covers by half or more."""
    return patch[2] >= 0.5


def _colours(rng, how, label=None, vivid=1.0):
    """Two colours (2, (r, g, b)) near one hue, that of the class or any; less vivid is darker and greyer."""
    hue = (rng.uniform() if label is None else label / len(CLASSES)) + rng.normal(0, HUE_SPREAD, (2, 1))
    saturation = rng.uniform(*how.saturation, (2, 1)) * vivid
    value = 255 * np.clip(rng.uniform(0.5, 1.0, (2, 1)) * vivid, 0, 1)
    # The pure red, green and blue of each hue.
    wheel = np.clip(np.abs((6 * hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - wheel))


def _paint(canvas, patch, rng, how, label=None, vivid=1.0):
    """Cover a part of the canvas with what the class wears, or with anything.

    It is lit from one side, so that an edge shows on any ground.
    """
    rows, columns, covered = patch
    size = len(canvas)
    step = max(1, size // 160)
    around = np.pad(covered, step, mode="edge")
    relief = around[2 * step :, 2 * step :] - around[: -2 * step, : -2 * step]
    texture = _texture(rng, *covered.shape, size, _colours(rng, how, label, vivid), label) + 40 * relief[..., None]
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

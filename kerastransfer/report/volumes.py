"""Pictures of volumes for reports: three slices through a point, at right angles."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from kerastransfer.report.pictures import TILE, draw_map, sheet

# What each of the axes is cut across to, in volumes of NIfTI files.
CUTS = ("from the left", "from the front", "from above")
Point = tuple[int, int, int]
Spacing = tuple[float, float, float] | None


def middle(labels: np.ndarray) -> Point:
    """The centre of what is labelled in (D, H, W), or of the volume if nothing is."""
    places = np.argwhere(labels > 0)
    centre = places.mean(axis=0) if len(places) else (np.array(labels.shape) - 1) / 2
    return tuple(int(value) for value in np.round(centre))


def slices(volume: np.ndarray, point: Point) -> list[np.ndarray]:
    """The three slices of (D, H, W) through a point, across each axis in turn, with the later of the two other axes
    upwards."""
    return [np.flipud(volume.take(place, axis).T) for axis, place in enumerate(point)]


def restored(volumes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], names: Sequence[str]) -> Image.Image:
    """A row for each slice of each volume: (as it is, deformed, restored), each (D, H, W) in 0..1; names: of the
    volumes."""
    tiles = []
    for volume, name in zip(volumes, names, strict=True):
        point = middle(np.zeros(volume[0].shape))
        for cut, images in zip(CUTS, zip(*(slices(one, point) for one in volume), strict=True), strict=True):
            tiles += [(f"{name}, {cut}" if not number else "", _grey(image)) for number, image in enumerate(images)]
    return sheet(tiles, columns=3, headings=("volume", "deformed", "restored"))


def segmented(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    *,
    names: Sequence[str],
    scores: Mapping[str, Sequence[float]],
    spacings: Sequence[Spacing],
) -> Image.Image:
    """Three rows for each volume, slices through the middle of what is labelled: the image, its true labels, and what
    each model predicts, with its Dice.

    images: (D, H, W) in 0..1. truths, predictions: (D, H, W) of classes, for each volume. names: a text for each.
    """
    tiles = []
    for row, (image, truth, name) in enumerate(zip(images, truths, names, strict=True)):
        point = middle(truth)
        maps = [truth, *(of_model[row] for of_model in predictions.values())]
        texts = ["", *(f"Dice {of_model[row]:.3f}" for of_model in scores.values())]
        for axis, grey in enumerate(slices(image, point)):
            sides = _sides(grey.shape, axis, spacings[row])
            pixels = np.asarray(_grey(grey, sides))
            tiles.append((f"{name}, {CUTS[axis]}", _grey(grey, sides)))
            for text, labels in zip(texts, maps, strict=True):
                tiles.append((text, draw_map(pixels, slices(labels, point)[axis])))
    return sheet(tiles, columns=2 + len(predictions), headings=("image", "truth", *predictions))


def _sides(shape, axis, spacing):
    """Height and width in pixels of a slice across an axis, whose longer side fills a tile."""
    width, height = (side for number, side in enumerate(spacing or (1.0, 1.0, 1.0)) if number != axis)
    sides = np.array([shape[0] * height, shape[1] * width])
    return tuple(int(side) for side in np.maximum(1, np.round(TILE * sides / sides.max())))


def _grey(image, sides=None):
    height, width = sides or _sides(image.shape, 0, None)
    pixels = Image.fromarray(np.round(255 * np.clip(image, 0, 1)).astype(np.uint8))
    return pixels.resize((width, height), Image.Resampling.BICUBIC).convert("RGB")

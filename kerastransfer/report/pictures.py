"""Pictures for reports, as `PIL.Image.Image`: images with boxes and masks drawn over them, side by side.

Sheets have a transparent background and grey text, so that they suit light pages as well as dark ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from kerastransfer import lettering
from kerastransfer.data.dataset import BadSampleError, Dataset, Example
from kerastransfer.report.style import GREY, colour
from kerastransfer.vocabulary import VOID

# In pixels: the longer side of an image in a sheet, the gap between images, and the size of the text.
TILE = 320
GAP = 10
LETTERS = 15
TINT = 0.45

# The text below a tile, and the tile.
Overlay = tuple[str, Image.Image]


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    scores: np.ndarray | None = None,
    size: int = TILE,
) -> Image.Image:
    """`image` (H, W, 3) uint8, resized to `size` pixels, with boxes (N, 4) as fractions, their class and, if given,
    their score.

    A label below 0 is padding and is left out; boxes with better scores are drawn on top of others. Of many boxes,
    small ones have no caption.
    """
    picture = fitted(image, size)
    pen = ImageDraw.Draw(picture)
    labels = np.asarray(labels)
    order = np.arange(len(labels)) if scores is None else np.argsort(scores, kind="stable")
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)[..., ::-1] * picture.size
    order = order[labels[order] >= 0]
    for index in order:
        (left, top), (right, bottom) = corners[index]
        right, bottom = max(left, right - 1), max(top, bottom - 1)
        pen.rectangle((left, top, right, bottom), outline=colour(labels[index]), width=max(2, size // 100))
        text = classes[labels[index]] + ("" if scores is None else f" {scores[index]:.2f}")
        text, letters = lettering.drawn(text, LETTERS - 2)
        if lettering.captioned(len(order), right - left, letters.getlength(text)):
            _tag(pen, (left, top), text, letters, colour(labels[index]))
    return picture


def draw_map(image: np.ndarray, segmentation: np.ndarray, *, colourless: bool = True, size: int = TILE) -> Image.Image:
    """`image` (H, W, 3) uint8 under a map (H, W) of classes, each tinted and outlined except for 0; void is grey.

    colourless: show the image in shades of grey, so that only the map has colours.
    """
    picture = fitted(image, size)
    if colourless:
        picture = picture.convert("L").convert("RGB")
    classes = np.asarray(Image.fromarray(segmentation.astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST))
    colours = np.zeros((256, 3), np.float32)
    for value in np.unique(classes[classes > 0]):
        colours[value] = ImageColor.getrgb(GREY if value == VOID else colour(value - 1))
    around = np.pad(classes, 1, mode="edge")
    neighbours = around[2:, 1:-1], around[:-2, 1:-1], around[1:-1, 2:], around[1:-1, :-2]
    edge = np.any([classes != neighbour for neighbour in neighbours], axis=0)
    tint = np.where(classes > 0, TINT, 0.0)
    tint[edge & (classes > 0)] = 1.0
    tint = tint[..., None]
    return Image.fromarray(((1 - tint) * np.asarray(picture) + tint * colours[classes]).round().astype(np.uint8))


def lengths(features: np.ndarray, *, size: int = TILE) -> Image.Image:
    """The length of the vector (D,) at each place of features (h, w, D), in shades of grey from the smallest to the
    largest, resized to `size` pixels."""
    values = np.linalg.norm(np.asarray(features, np.float32), axis=-1)
    values = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    shades = Image.fromarray(np.round(255 * values).astype(np.uint8)).convert("RGB")
    factor = size / max(shades.size)
    return shades.resize([max(1, round(side * factor)) for side in shades.size], Image.Resampling.NEAREST)


def detections(
    images: Sequence[np.ndarray],
    truths: Sequence[Mapping[str, np.ndarray]],
    found: Sequence[Mapping[str, np.ndarray]],
    classes: Sequence[str],
    *,
    least_score: float = 0.3,
    columns: int = 2,
) -> Image.Image:
    """Images, each shown twice: with its true boxes, and with those found whose score is at least `least_score`.

    truths: {"boxes" (N, 4), "labels" (N,)} for each image. found: {"boxes", "labels", "scores"} for each image. If
    `found` has "masks" (N, H, W), both must have them; each object then has a different colour.
    """
    tiles = []
    for image, truth, detected in zip(images, truths, found, strict=True):
        kept = np.asarray(detected["scores"]) >= least_score
        boxes, labels, scores = (np.asarray(detected[name])[kept] for name in ("boxes", "labels", "scores"))
        left, right = image, image
        if "masks" in detected:
            left, right = (
                np.asarray(draw_map(image, numbered(one)))
                for one in (truth["masks"], np.asarray(detected["masks"])[kept][::-1])
            )
        tiles.append(("", draw_boxes(left, truth["boxes"], truth["labels"], classes)))
        tiles.append(("", draw_boxes(right, boxes, labels, classes, scores=scores)))
    return sheet(tiles, columns=2 * columns, headings=("truth", "found") * columns)


def numbered(masks: np.ndarray) -> np.ndarray:
    """Convert masks (N, H, W) to a map (H, W) uint8: the number of each object, or 0 for none; the last is on top."""
    number = np.zeros(masks.shape[1:], np.uint8)
    for index, mask in enumerate(masks):
        number[np.asarray(mask, bool)] = 1 + index % (VOID - 1)
    return number


def masks(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    *,
    names: Sequence[str],
    scores: Mapping[str, Sequence[float]],
) -> Image.Image:
    """A row for each image: the image, its true map, and the map that each model predicts.

    predictions: {model: [(H, W) for each image]}. names: text for each row ("best: 0042"). scores: {model: [IoU for
    each image]}, written below the maps.
    """
    tiles: list[Overlay] = []
    for row, (image, truth, name) in enumerate(zip(images, truths, names, strict=True)):
        tiles += [(name, fitted(image, TILE)), ("", draw_map(image, truth))]
        for model, maps in predictions.items():
            tiles.append((f"IoU {scores[model][row]:.3f}", draw_map(image, maps[row])))
    return sheet(tiles, columns=2 + len(predictions), headings=("image", "truth", *predictions))


def classes(
    images: Sequence[np.ndarray], truths: Sequence[str], found: Sequence[Mapping[str, Any]], *, columns: int = 4
) -> Image.Image:
    """Images with their true class and the score; if another class was predicted, that one as well.

    found: {"label", "score"} for each image.
    """
    tiles = []
    for image, truth, one in zip(images, truths, found, strict=True):
        wrong = "" if one["label"] == truth else f", found {one['label']}"
        tiles.append((f"{truth}{wrong} {one['score']:.2f}", fitted(image, TILE)))
    return sheet(tiles, columns=columns)


def best_median_worst(scores: np.ndarray, each: int = 2) -> dict[str, list[int]]:
    """Indices of the `each` best, median and worst scores (N,), each index at most once; NaNs are left out."""
    scores = np.asarray(scores, np.float64)
    order = [int(index) for index in np.argsort(-scores, kind="stable") if not np.isnan(scores[index])]
    each = min(each, -(-len(order) // 3))
    middle = max(each, (len(order) - each) // 2)
    chosen = {
        "best": order[:each],
        "median": order[middle : middle + each],
        "worst": order[max(2 * each, len(order) - each) :],
    }
    return {name: indices for name, indices in chosen.items() if indices}


def contact_sheet(dataset: Dataset, count: int = 24, *, columns: int = 6) -> Image.Image:
    """`count` samples spread over the data set with their annotations; one that cannot be read is shown with the
    reason."""
    if not len(dataset):
        return sheet([("no samples", _blank())], columns=1)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    tiles = [_annotated(dataset, dataset.samples[index]) for index in chosen]
    return sheet(tiles, columns=min(columns, len(tiles)))


def _annotated(dataset, sample):
    try:
        example: Example = sample.read()
    except BadSampleError as error:
        return f"{sample.name}: {error}", _blank()
    picture, name = example["image"], sample.name
    if "segmentation" in sample.fields:
        picture = np.asarray(draw_map(picture, example["segmentation"], colourless=False))
    elif "masks" in sample.fields:
        numbers = np.arange(1, len(example["masks"]) + 1)[:, None, None] % VOID
        picture = np.asarray(draw_map(picture, np.max(example["masks"] * numbers, axis=0, initial=0), colourless=False))
    if "label" in sample.fields:
        name = f"{dataset.image_classes[int(example['label'])]}: {name}"
    if "boxes" in sample.fields:
        return name, draw_boxes(picture, example["boxes"], example["labels"], dataset.classes)
    return name, fitted(picture, TILE)


def sheet(tiles: Iterable[Overlay], *, columns: int, headings: Sequence[str] = ()) -> Image.Image:
    """Tiles in rows of `columns`, each row as high as its highest tile, with headings above and a text below each
    tile."""
    tiles = list(tiles)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    line = round(1.6 * LETTERS)
    lines = [line if any(text for text, _ in row) else 0 for row in rows]
    heights = [max(tile.height for _, tile in row) for row in rows]
    height = sum(heights) + sum(lines) + GAP * max(0, len(rows) - 1) + (line if headings else 0)
    page = Image.new("RGBA", (columns * TILE + (columns - 1) * GAP, max(1, height)))
    pen = ImageDraw.Draw(page)
    for column, heading in enumerate(headings):
        _write(pen, (column * (TILE + GAP), 0), heading)
    top = line if headings else 0
    for row, tallest, below in zip(rows, heights, lines, strict=True):
        for column, (text, tile) in enumerate(row):
            left = column * (TILE + GAP)
            page.paste(tile, (left + (TILE - tile.width) // 2, top + (tallest - tile.height) // 2))
            _write(pen, (left, top + tallest + 3), text)
        top += tallest + below + GAP
    return page


def scattered(
    images: np.ndarray, chosen: np.ndarray, places: np.ndarray, *, thumbnail: int = 40, size: int = 1200
) -> Image.Image:
    """Images at places (N, 2) of a map `size` pixels wide and high. chosen: (N,) their rows in `images`
    (M, H, W, 3) uint8. The longer side of an image has `thumbnail` pixels. Images stand in the cells of a grid, so that
    none lies on another; of those that fall in the same cell the nearest to its centre is shown."""
    page = Image.new("RGBA", (size, size))
    cells = max(1, size // thumbnail)
    low, high = places.min(axis=0), places.max(axis=0)
    # In cells, the y axis upwards as in a chart.
    across = (places - low) / np.maximum(high - low, 1e-9) * (cells - 1)
    across[:, 1] = cells - 1 - across[:, 1]
    cell = across.round().astype(int)
    taken = set()
    for one in np.argsort(np.abs(across - cell).max(axis=1), kind="stable"):
        column, row = map(int, cell[one])
        if (column, row) not in taken:
            taken.add((column, row))
            page.paste(fitted(np.asarray(images[chosen[one]]), thumbnail), (column * thumbnail, row * thumbnail))
    return page


def fitted(image: np.ndarray, size: int) -> Image.Image:
    """`image` (H, W, 3) uint8, resized so that its longer side has `size` pixels."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(image).resize(sides, Image.Resampling.LANCZOS)


def _tag(pen, corner, text, letters, background):
    """Draw text on a coloured background above the corner of a box, moved so that it stays within the picture."""
    width, height = letters.getlength(text) + 6, sum(letters.getmetrics())
    x = min(max(0, corner[0]), max(0, pen.im.size[0] - width))
    y = corner[1] - height if corner[1] >= height else max(0, corner[1])
    pen.rectangle((x, y, x + width, y + height), fill=background)
    red, green, blue = ImageColor.getrgb(background)
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140
    pen.text((x + 3, y), text, fill="white" if dark else "black", font=letters)


def _write(pen, place, text):
    """Write as much of the text as fits below a tile."""
    text, letters = lettering.drawn(text, LETTERS)
    pen.text(place, _cut(text, letters, TILE), fill=GREY, font=letters)


def _cut(text, letters, width):
    """As much of the text as fits in `width` pixels."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _blank():
    return Image.new("RGB", (TILE, TILE // 2), GREY)

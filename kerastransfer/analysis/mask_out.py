"""Mask-out maps: how the probability of an image's class changes while a square of the image is hidden (Li et al. 2019,
section 4; Zeiler and Fergus 2014, section 4.2).

The square is slid over the image. For each position the probability of the true class, from a linear classifier on
pooled features (`analysis.linear_classifier`), stands at the square's centre.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np

from kerastransfer.analysis import bilinear, linear_classifier
from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.material import Features, pair
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.metrics import bootstrap
from kerastransfer.vocabulary import GREY

TITLE = "Mask-out maps"
NEEDS = Features
# The side of the images that the paper's numbers are for.
SIDE = 224
# Of the probability for the whole image: below it the square hides what counts.
HALF = 0.5


@dataclasses.dataclass
class Settings:
    """How images are masked."""

    size: float = 60 / 224
    """Side of the square, as a share of the image's side."""
    stride: int = 16
    """Distance between two positions of the square, in pixels of an image of 224 pixels; values between them are
    interpolated. A stride of 8 takes four times as long."""
    blank: Literal["mean", "grey", "black"] = "mean"
    """What the square shows: the mean colour of all images, medium grey, or black."""
    images: int = 16
    """Number of test images, drawn from those that both models classify correctly."""
    batch_size: int = 32
    """Number of masked copies that an encoder reads at a time."""
    seed: int = 0
    """Seed of the choice of images, and of the linear classifiers."""

    def __post_init__(self) -> None:
        require_positive(self, "stride", "images", "batch_size", prefix="mask_out.")
        if not 0 < self.size <= 1:
            raise UserError(f"--mask-out.size is {self.size}; give a share of the image's side, above 0 and at most 1")


@dataclasses.dataclass(frozen=True)
class Maps:
    """The probability of the true class of M images: clean (M,) of the whole image, masked (M, h, w) with a square at
    `places` (h,) and (w,), in pixels of the image, and `ratios` (M, H, W) of both at every pixel as the centre."""

    clean: np.ndarray
    masked: np.ndarray
    ratios: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(M,): mean ratio."""
        return self.ratios.mean(axis=(1, 2), dtype=np.float64)

    @property
    def least(self) -> np.ndarray:
        """(M,): smallest ratio."""
        return self.ratios.min(axis=(1, 2))

    @property
    def hurt(self) -> np.ndarray:
        """(M,): share of the centres at which the ratio is below a half."""
        return (self.ratios < HALF).mean(axis=(1, 2))


def places(pixels: int, stride: int) -> np.ndarray:
    """Where the centre of the square stands along an axis: every `stride` pixels, and at the last one."""
    return np.unique([*range(0, pixels, stride), pixels - 1])


def window(centre: int, side: int, pixels: int) -> slice:
    """The pixels of an axis that a square of this side hides, cut off at the borders."""
    start = int(centre) - side // 2
    return slice(max(0, start), min(pixels, start + side))


def copies(
    images: np.ndarray, rows: np.ndarray, columns: np.ndarray, side: int, blank: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Batches (batch_size, H, W, 3) uint8, and how many of each count: every image (M, H, W, 3) as it is, then with a
    square at each row and column. Images follow each other within a batch, which is one array that is written again;
    the last one is filled up with what was in it."""
    height, width = images.shape[1:3]
    batch = np.zeros((batch_size, height, width, 3), np.uint8)
    squares = [None, *((window(y, side, height), window(x, side, width)) for y in rows for x in columns)]
    filled = 0
    for image in images:
        for square in squares:
            batch[filled] = image
            if square:
                batch[filled][square] = blank
            filled += 1
            if filled == batch_size:
                yield batch, filled
                filled = 0
    if filled:
        yield batch, filled


def maps(
    images: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    settings: Settings,
    blank: np.ndarray,
    *,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Maps:
    """The maps of images (M, H, W, 3) uint8. score: from a batch (B, H, W, 3) and the images (B,) that these are copies
    of, in [0, M), to the probabilities (B,) of their true classes. blank: (3,), the colour of the square."""
    number, height, width = images.shape[:3]
    stride = max(1, round(settings.stride * height / SIDE))
    rows, columns = places(height, stride), places(width, stride)
    each = 1 + len(rows) * len(columns)
    found = np.empty(number * each)
    batches = copies(images, rows, columns, max(1, round(settings.size * height)), blank, settings.batch_size)
    for start in progress(range(0, len(found), settings.batch_size)):
        batch, count = next(batches)
        of = np.minimum((start + np.arange(len(batch))) // each, number - 1)
        found[start : start + count] = score(batch, of)[:count]
    found = found.reshape(number, each)
    clean, masked = found[:, 0], found[:, 1:].reshape(number, len(rows), len(columns))
    ratios = masked / clean[:, None, None]
    return Maps(clean, masked, bilinear.enlarged(ratios, rows, columns, (height, width)))


def study(settings: Settings, material: Features, progress: Callable[[Iterable], Iterable] = iter) -> Findings:
    """Mask images that both models classify correctly. Raises LeftOut without labels, or if there is no such image, and
    UserError as `linear_classifier.fitted` does."""
    if material.labels is None:
        raise LeftOut("the images have no labels; give data for classification")
    models = pair(material.encoders)
    parts = linear_classifier.split(material.labels, material.train)
    probes, right = {}, np.ones(len(parts.test), bool)
    for model in models:
        pooled = material.pooled[model]
        labels, num_classes = parts.labels[parts.train], len(parts.classes)
        options = linear_classifier.Settings(seed=settings.seed)
        probes[model] = linear_classifier.fitted(pooled[parts.train], labels, num_classes, options, of=model)
        found = probes[model].logits(pooled[parts.test]).argmax(axis=1)
        right &= found == parts.labels[parts.test]
    known = parts.test[right]
    if not len(known):
        raise LeftOut(f"none of the {len(parts.test)} test images is classified correctly by both models")
    drawn = np.random.default_rng(settings.seed).permutation(known)[: settings.images]
    chosen = np.sort(drawn)
    images, labels = np.asarray(material.images[chosen]), parts.labels[chosen]
    colours = {"mean": material.mean, "grey": [GREY] * 3, "black": [0] * 3}
    blank = np.asarray(colours[settings.blank]).round().astype(np.uint8)

    def scorer(model):
        def score(batch, of):
            features = np.asarray(material.encoders[model](batch))
            if not np.isfinite(features).all():
                raise UserError(
                    f"the features of {model} are not finite for a masked image; train the model again with a lower "
                    "learning rate, or in float32"
                )
            return probes[model].probabilities(features)[np.arange(len(of)), labels[of]]

        return score

    found = {model: maps(images, scorer(model), settings, blank, progress=progress) for model in models}
    return _findings(settings, material, parts, chosen, images, len(known), found)


def _findings(settings, material, parts, chosen, images, known, found):
    from kerastransfer.report.page import Estimate, Table

    (first, one), (second, other) = found.items()
    side = max(1, round(settings.size * images.shape[1]))
    findings = Findings(
        TITLE,
        text=[
            f"{len(chosen)} test images, drawn from the {known:,} of {len(parts.test):,} that linear classifiers on "
            f"pooled features of both models classify correctly, with a square of {side} x {side} pixels hidden. A "
            "ratio is the probability of the true class divided by that without a square; it stands at the centre of "
            "the square, which is cut off at the borders."
        ],
    )
    if len(chosen) < settings.images:
        findings.text.append(f"{settings.images} images were wanted; no more are classified correctly by both.")
    rows = []
    measures = {"mean ratio": "mean", "smallest ratio": "least", "area below half": "hurt"}
    for model, of_model in found.items():
        values = {metric: getattr(of_model, name) for metric, name in measures.items()}
        findings.numbers[model] = {metric: float(value.mean()) for metric, value in values.items()}
        findings.numbers[model]["images"] = len(chosen)
        rows.append((model, [Estimate(*bootstrap.interval(value)) for value in values.values()]))
    differences = [
        Estimate(*bootstrap.paired_difference(getattr(one, name), getattr(other, name))) for name in measures.values()
    ]
    rows.append((f"{first} minus {second}", differences))
    title = "Probability of the true class behind a square, as a share of that without"
    findings.tables.append(Table(list(measures), rows, title, "model"))
    findings.claims.append(
        Claim(
            "The detector is robust to hidden parts of the image.",
            f"mean ratio, {first} minus {second}",
            differences[0],
        )
    )
    findings.figures.append(_sheet(material, chosen, images, found))
    return findings


def _sheet(material, chosen, images, found):
    from kerastransfer.report.page import Figure
    from kerastransfer.report.pictures import TILE, fitted, sheet
    from kerastransfer.tasks.drawing import heat

    tiles = []
    for row, (index, image) in enumerate(zip(chosen, images, strict=True)):
        tiles.append((str(material.classes[material.labels[index]]), fitted(image, TILE)))
        for of_model in found.values():
            lost = heat(image, 1 - of_model.ratios[row], 1.0)
            tiles.append((f"mean ratio {of_model.mean[row]:.2f}", fitted(np.asarray(lost), TILE)))
    caption = (
        "How much of the probability of the true class is lost while a square is centred at a pixel: nothing where the "
        "image is grey, half where it is orange, all where it is yellow."
    )
    picture = sheet(tiles, columns=1 + len(found), headings=("image", *found))
    return "mask_out", Figure("What hiding a part of an image does", caption, b""), picture

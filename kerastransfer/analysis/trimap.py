"""Where two segmenters differ: near the contours of objects, or away from them?

A trimap is the band around contours within a width; trimap IoU is the mean IoU of its pixels (Kohli et al. 2009;
Kraehenbuehl and Koltun 2011; Chen et al. 2018), and anti-trimap IoU that of all others (Li et al. 2019, section 4.2).
The contours are the void pixels of the truth.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.material import Segmented, pair
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive, some
from kerastransfer.metrics import pooled
from kerastransfer.vocabulary import VOID

TITLE = "Near contours and away from them"
NEEDS = Segmented
Element = Literal["disk", "square"]
# Pixels by which the line between two labels is dilated, on both sides.
LINE = 2
# Widths of the table, in pixels.
SHOWN = (5, 10, 20, 40)


@dataclasses.dataclass
class Settings:
    """Settings of the study of trimaps."""

    widest: int = 40
    """Largest width of the band around contours, in pixels; every width from 1 is measured."""
    interior: int = 10
    """Pixels further than this from any contour count as away from contours, for the claim about them."""
    element: Literal["disk", "square"] = "disk"
    """Shape that contours are dilated by: a disk whose radius is the width, or a square with sides of twice the width
    and one pixel."""
    resamples: int = 1000
    """Number of draws of the test images that the intervals come from."""
    seed: int = 0
    """Seed of these draws."""

    def __post_init__(self) -> None:
        require_positive(self, "widest", "interior", "resamples", prefix="trimap.")
        if self.interior > self.widest:
            raise UserError(
                f"--trimap.interior is {self.interior} and the widest band is {self.widest} pixels; give "
                "--trimap.interior a width that is measured"
            )


@dataclasses.dataclass(frozen=True)
class Curves:
    """IoU within a band around contours and outside of it.

    widths: (W,) pixels. trimap, anti_trimap: (W,) mean IoU over the classes that are in truth or prediction there; NaN
    where there are no pixels, as in a trimap of width 0. trimap_confusion, anti_trimap_confusion: (W, K, K) pixels of
    all images by true (rows) and predicted class; their sum is the same for every width.
    """

    widths: np.ndarray
    trimap: np.ndarray
    anti_trimap: np.ndarray
    trimap_confusion: np.ndarray
    anti_trimap_confusion: np.ndarray


def curves(
    predictions: Iterable[np.ndarray],
    truths: Iterable[np.ndarray],
    widths: Sequence[float],
    *,
    num_classes: int | None = None,
    element: Element = "disk",
) -> Curves:
    """Trimap and anti-trimap IoU of a test set at several widths, from the pixels of all its images together.

    predictions, truths: maps (H, W) of classes, VOID in a truth where contours are; both may be generators, and sizes
        may differ from image to image. widths: in pixels, 0 or more, in any order. num_classes: K; by default one more
        than the largest class that occurs. element: what contours are dilated by, a "disk" whose radius is the width or
        a "square" with sides of 2 * width + 1.
    All widths together cost hardly more than one: there is one distance transform for an image, and its pixels are
    counted once, by distance. An image without void is outside of every band (see `void_line`).
    Raises ValueError for maps of different sizes or numbers, and for values that are not classes.
    """
    widths = np.asarray(widths, np.float64).reshape(-1)
    if not (widths >= 0).all():
        raise ValueError(f"widths {widths.tolist()} of a trimap; give numbers from 0")
    # Pixels by the narrowest band that they are in.
    each, place = np.unique(widths, return_inverse=True)
    total = np.zeros((len(each) + 1, num_classes or 0, num_classes or 0), np.int64)
    for prediction, truth in zip(predictions, truths, strict=True):
        one = _histogram(prediction, truth, _bands(truth, each, element), len(each), num_classes)
        larger = max(len(one[0]), len(total[0]))
        total = _padded(total, larger) + _padded(one, larger)
    within = np.cumsum(total, axis=0)
    near, far = within[:-1][place], (within[-1] - within[:-1])[place]
    iou = (pooled.mean_iou(pooled.counts(part)) for part in (near, far))
    return Curves(widths, *iou, near, far)


def void_line(truth: np.ndarray) -> np.ndarray:
    """Where contours are in a map (H, W) of classes that has no void pixels, (H, W) bool: pixels with a neighbour of
    another label above, below, left or right, dilated by a disk of `LINE` pixels; about as wide as that of PASCAL VOC.

    `np.where(void_line(truth), VOID, truth)` is a truth that `curves` can take.
    """
    from scipy import ndimage

    truth = np.asarray(truth)
    edge = np.zeros(truth.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = truth[one] != truth[other]
        edge[one] |= differs
        edge[other] |= differs
    if not edge.any():
        return edge
    return ndimage.distance_transform_edt(~edge) <= LINE


def study(settings: Settings, material: Segmented, progress: Callable) -> Findings:
    """Trimap and anti-trimap IoU of both models. Raises LeftOut where no truth has a contour, and where void pixels are
    not contours but objects that the models do not know."""
    if material.unknown:
        raise LeftOut(
            f"the images have classes that the models do not know ({some(material.unknown)}), and bands around these "
            "would not be around contours"
        )
    first, second = pair(material.found)
    images, number = len(material.names), len(material.classes)
    widths = np.arange(1.0, settings.widest + 1)
    marked = any((material.truth(image) == VOID).any() for image in range(images))
    contours = 0

    def counted():
        """Counts (2, W + 1, 3, K) of an image, for both models, by the narrowest band."""
        nonlocal contours
        for image in progress(range(images)):
            truth = material.truth(image)
            if not marked:
                truth = np.where(void_line(truth), VOID, truth)
            contours += bool((truth == VOID).any())
            bands = _bands(truth, widths, settings.element)
            maps = (material.found[name](image) for name in (first, second))
            yield np.stack([pooled.counts(_histogram(one, truth, bands, len(widths), number)) for one in maps])

    whole, drawn = pooled.resampled(counted(), images, resamples=settings.resamples, seed=settings.seed)
    if not contours:
        raise LeftOut("no test image has a contour: each truth is of a single class")
    # A few at a time, since each has the counts of all widths and classes.
    parts = [_scores(part) for part in np.array_split(drawn, -(-len(drawn) // 50))]
    resampled = [np.concatenate(values) for values in zip(*parts, strict=True)]
    return _findings(settings, (first, second), marked, _scores(whole), resampled)


def _findings(settings, names, marked, scores, resampled):
    from kerastransfer.report import figures
    from kerastransfer.report.page import Estimate, Figure, Table

    first, second = names
    widths = np.arange(1, settings.widest + 1)
    near, far, plain = scores
    gaps = [one[0] - one[1] for one in scores]
    # Of resamples (R, 2, ...).
    again = [one[:, 0] - one[:, 1] for one in resampled]

    def estimate(value, values):
        return Estimate(float(value), *map(float, pooled.ends(values)))

    rows = [("all pixels", [*map(float, plain), estimate(gaps[2], again[2])])]
    shown = [width for width in SHOWN if width <= settings.widest] or [settings.widest]
    for part, name in enumerate(("trimap", "anti-trimap")):
        for width in shown:
            place = width - 1
            values = [float(value) for value in scores[part][:, place]]
            rows.append((f"{name}, {width} pixels", [*values, estimate(gaps[part][place], again[part][:, place])]))
    table = Table([first, second, "difference"], rows, "Mean IoU near contours and away from them", "pixels")
    numbers = {
        name: {
            "iou_outside_void": float(plain[model]),
            **{f"iou_trimap/{width}": float(near[model, width - 1]) for width in shown},
            **{f"iou_anti_trimap/{width}": float(far[model, width - 1]) for width in shown},
        }
        for model, name in enumerate(names)
    }
    drawn = figures.lines(
        {
            f"{name}, {part}": (widths, values[model], None)
            for part, values in (("trimap", near), ("anti-trimap", far))
            for model, name in enumerate(names)
        },
        x="width of the band, pixels",
        y="mean IoU",
    )
    deviations = [1.96 * pooled.deviation(values) for values in again[:2]]
    gap = figures.lines(
        {
            "trimap": (widths, gaps[0], deviations[0]),
            "anti-trimap": (widths, gaps[1], deviations[1]),
            "all pixels": (widths, np.full(len(widths), gaps[2]), None),
        },
        x="width of the band, pixels",
        y=f"mean IoU, {first} minus {second}",
    )
    interior = settings.interior - 1
    steady = estimate(_steadiness(gaps[0]), _steadiness(again[0]))
    slope = estimate(10 * _slope(widths, gaps[0]), 10 * _slope(widths, again[0]))
    return Findings(
        TITLE,
        text=[_origin(marked), _spread(widths, gaps[0], slope), *_few(far, widths)],
        numbers=numbers,
        tables=[table],
        figures=[
            (
                "trimap",
                Figure("Mean IoU near contours and away from them", "Within a band around contours (trimap), and "
                       "outside of it (anti-trimap).", b"", chart=True),
                drawn,
            ),
            (
                "trimap_gap",
                Figure("What one model is ahead of the other", "The difference of mean IoU. Shaded: 1.96 standard "
                       "deviations over draws of the test images.", b"", chart=True),
                gap,
            ),
        ],
        claims=[
            Claim(
                "The model that was pre-trained on detection is also ahead away from contours.",
                f"mean IoU further than {settings.interior} pixels from contours, {first} minus {second}",
                estimate(gaps[1][interior], again[1][:, interior]),
            ),
            Claim(
                "It is ahead by about as much in narrow bands around contours as in wide ones.",
                f"the smaller of two differences ({first} minus {second}), minus half of the larger: of the trimap IoU "
                "averaged over the narrower half of all widths, and over the wider half",
                steady,
            ),
        ],
    )  # fmt: skip


def _origin(marked):
    if marked:
        return (
            "Contours are the void pixels of the annotation; where it also has void areas that are not contours, their "
            "surroundings count as near one. An image without void pixels is away from contours."
        )
    return (
        "The annotation has no void pixels, so contours are where two labels meet: pixels with a neighbour of another "
        f"label, dilated by {LINE}. Like void pixels they are not scored, so that the IoU of all pixels is a little "
        "higher here than where they are."
    )


def _spread(widths, gap, slope):
    if np.isnan(gap).all():
        return "No pixel is near a contour and scored."
    return (
        f"Over the widths from {widths[0]} to {widths[-1]} pixels the trimap gap is between {np.nanmin(gap):+.3f} and "
        f"{np.nanmax(gap):+.3f}; the line fitted to it has a slope of {slope.value:+.4f} for 10 pixels "
        f"({slope.low:+.4f} to {slope.high:+.4f}, over draws of the test images; where classes are in few "
        "images, such intervals are rough). A gap that came from contours alone would fall as the band "
        "widens, since more and more of its pixels are away from them. That two numbers are equal can never be "
        "shown, so the claim of a constant gap is judged as: neither in narrow nor in wide bands is the gap below "
        "half of what it is in the others."
    )


def _few(far, widths):
    """Where the images are too small for the widest bands."""
    empty = widths[np.isnan(far).any(axis=0)]
    return [f"From {empty[0]} pixels on, the bands cover all images."] if len(empty) else []


def _scores(counted):
    """Mean IoU within each band (..., 2, W), outside of it (..., 2, W), and of all pixels (..., 2), from counts
    (..., 2, W + 1, 3, K) by the narrowest band."""
    within = np.cumsum(counted, axis=-3)
    near, everything = within[..., :-1, :, :], within[..., -1:, :, :]
    return pooled.mean_iou(near), pooled.mean_iou(everything - near), pooled.mean_iou(everything[..., 0, :, :])


def _steadiness(gap):
    """Of gaps (..., W): the smaller of the mean over the narrower half of the widths and that over the wider half,
    minus half of the larger. It is above 0 if the gap is, in both, and neither is below half of the other."""
    half = -(-gap.shape[-1] // 2)
    means = gap[..., :half].mean(axis=-1), gap[..., -half:].mean(axis=-1)
    return np.minimum(*means) - np.maximum(*means) / 2


def _slope(widths, gap):
    """The slope (...) of the line fitted to gaps (..., W) at widths (W,); 0 for a single width."""
    across = widths - widths.mean()
    return gap @ across / max(across @ across, 1.0)


def _bands(truth, widths, element):
    """For each pixel (H, W) the place in `widths` (W,), which rise, of the narrowest band that it is in; W if none."""
    from scipy import ndimage

    if element not in ("disk", "square"):
        raise ValueError(f"element {element!r}; choose 'disk' or 'square'")
    known = np.asarray(truth) != VOID
    if known.all():
        return np.full(known.shape, len(widths))
    if element == "disk":
        distance = ndimage.distance_transform_edt(known)
    else:
        distance = ndimage.distance_transform_cdt(known, "chessboard")
    return np.searchsorted(widths, distance)


def _histogram(prediction, truth, bands, number, num_classes):
    """Pixels (number + 1, K, K) by band, true and predicted class; void is left out."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ValueError(f"a prediction of {prediction.shape} pixels for a truth of {truth.shape}")
    known = truth != VOID
    truth, prediction, bands = truth[known].astype(np.int64), prediction[known].astype(np.int64), bands[known]
    largest = max(truth.max(initial=-1), prediction.max(initial=-1)) + 1
    smallest = min(truth.min(initial=0), prediction.min(initial=0))
    classes = largest if num_classes is None else num_classes
    if smallest < 0 or largest > classes:
        raise ValueError(f"a map holds {smallest}..{largest - 1}; classes are 0..{classes - 1}")
    flat = (bands * classes + truth) * classes + prediction
    return np.bincount(flat, minlength=(number + 1) * classes**2).reshape(number + 1, classes, classes)


def _padded(table, classes):
    """Confusion matrices (..., K, K) of more classes."""
    more = classes - table.shape[-1]
    return np.pad(table, ((0, 0), (0, more), (0, more))) if more else table

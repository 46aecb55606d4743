"""Which encoder suits some data, before any is trained: a linear probe, LogME, H-score, CKA and cost, and how sure the
order is."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from kerastransfer.analysis import cka, cost, power_law, probe, selection, transferability
from kerastransfer.analysis.pixel_features import PixelFeatures, extracted
from kerastransfer.data.dataset import Dataset
from kerastransfer.data.decoded import decode
from kerastransfer.detectors.detector import require_multiple
from kerastransfer.encoders import taps
from kerastransfer.errors import UserError
from kerastransfer.metrics import bootstrap

# Masks that a probe can be scored with, and that a curve can be fitted to.
FEWEST, FEWEST_FOR_CURVE = probe.FOLDS, 16
# LogME, H-score and CKA are computed on so many pixels; their cost grows with the square.
PIXELS = 2000
# Of the learning curve: every image is held out once in each pass, with its part.
PASSES, PARTS = 2, 4
# From this CKA on two encoders are called alike.
ALIKE = 0.9


@dataclasses.dataclass(frozen=True)
class Signals:
    """What is known of one encoder. milliseconds: for one image. Without masks probed is None, the scores NaN."""

    name: str
    parameters: int
    milliseconds: float
    probed: probe.CrossValidated | None = None
    logme: float = np.nan
    h_score: float = np.nan

    @property
    def auc(self) -> float:
        """By which encoders are ordered."""
        return self.probed.mean_auc if self.probed else np.nan

    @property
    def dice(self) -> float:
        return self.probed.mean if self.probed else np.nan


@dataclasses.dataclass(frozen=True)
class Curve:
    """How the probe of the first encoder gains from masks: mean dice (R, S) of each draw with so many masks (S,), the
    power law of 1 - dice, the wanted dice, and the masks that it needs."""

    sizes: np.ndarray
    dice: np.ndarray
    law: power_law.PowerLaw
    target: float
    needed: power_law.Needed


@dataclasses.dataclass(frozen=True)
class Advice:
    """encoders: the best first; without masks in the order given. masks: number of images that they were probed with.
    ahead: {encoder: (mean, low, high)}, by how much AUC per image the first is ahead. alike: {(one, other): CKA}.
    photos: names of those to annotate next, in order; doubted: whether doubt played a part."""

    encoders: tuple[Signals, ...]
    masks: int
    ahead: Mapping[str, tuple[float, float, float]]
    alike: Mapping[tuple[str, str], float]
    curve: Curve | None = None
    photos: tuple[str, ...] = ()
    doubted: bool = False


def advise(
    encoders: Mapping[str, Callable[[], keras.Model]],
    dataset: Dataset,
    *,
    image_size: int,
    masks: int = 64,
    target: float | None = None,
    photos: int = 0,
    seed: int = 0,
    progress: Callable[[str], Callable[[Iterable], Iterable]] = lambda text: iter,
) -> Advice:
    """Advice on `encoders`, {name: a function that opens it}, for the images of a data set, of which some may have a
    segmentation; images are stretched to a square of `image_size` pixels.

    masks: at most so many are used, drawn by `seed`. target: a dice, for which the masks needed are foretold. photos:
        so many of those without a mask are chosen to be annotated next. progress: from a description to a function that
        wraps a sequence.
    Encoders are ordered by the mean AUC of the probe within an image; those with the same by LogME. Fine-tuning moves
    the line between classes, so where the probe draws it (its dice) foretells less.
    Raises UserError for too few masks, for an image size that an encoder cannot read, and for more photos than there
    are.
    """
    with_masks, without = _divided(dataset)
    _check(dataset, len(with_masks), len(without), masks, target, photos)
    used = _drawn(with_masks if len(with_masks) else without, masks, seed)
    fields = ["segmentation"] if len(with_masks) else []
    decoded = decode(used, fields, (image_size, image_size))
    images, segmentation = decoded.arrays["image"], decoded.arrays.get("segmentation")
    classes = len(dataset.segmentation_classes)
    if segmentation is None:
        points = probe.drawn(np.zeros(images.shape[:3], np.uint8), seed=seed)
    else:
        points = probe.drawn(segmentation, seed=seed)
    some = _spread(len(points), seed)
    signals, seen = [], {}
    for name, open_encoder in progress("probing encoders")(list(encoders.items())):
        encoder = open_encoder()
        features, rows = _features(encoder, images, points)
        seen[name] = _scaled(rows[some])
        signals.append(
            Signals(
                name,
                encoder.count_params(),
                cost.milliseconds(encoder, (image_size, image_size)),
                *_scores(features, segmentation, classes, points, rows, seen[name], some, seed),
            )
        )
    if segmentation is not None:
        signals.sort(key=lambda one: (-np.nan_to_num(one.auc, nan=-1.0), -one.logme))
    best = signals[0].name
    curve = chosen = None
    if target is not None or photos:
        encoder = encoders[best]()
        features, rows = _features(encoder, images, points)
        if target is not None:
            curve = _curve(features, segmentation, classes, points, rows, target, seed, progress)
        if photos:
            fitted = None if segmentation is None else probe.fit(rows, points.label, points.weight, classes)
            chosen = _photos(encoder, fitted, features, without, image_size, photos, seed, progress)
    first = signals[0].probed
    return Advice(
        tuple(signals),
        len(with_masks) and len(used),
        {one.name: bootstrap.paired_difference(first.auc, one.probed.auc) for one in signals[1:] if first},
        cka.over_batches([seen]),
        curve,
        chosen or (),
        segmentation is not None,
    )


def sizes_of_subsets(most: int) -> list[int]:
    """Numbers of masks of nested subsets up to `most`: each about 1.6 times the one before, from 2 on."""
    steps = max(3, round(np.log(most / 2) / np.log(1.6)) + 1)
    return sorted({round(size) for size in np.geomspace(2, most, steps)})


def _divided(dataset):
    """The samples with a segmentation, and those without."""
    with_masks = dataset.having("segmentation")
    named = {sample.name for sample in with_masks.samples}
    return with_masks, dataset.only(sample.name for sample in dataset.samples if sample.name not in named)


def _check(dataset, there, without, masks, target, photos):
    if photos > without:
        raise UserError(
            f"--next {photos}: {dataset.name} has {without} photos without a mask; give {without} or fewer, or add "
            "photos that nobody annotated"
        )
    if there and masks < (FEWEST if target is None else FEWEST_FOR_CURVE):
        least = FEWEST if target is None else f"{FEWEST_FOR_CURVE}, with --target-dice"
        raise UserError(f"--masks {masks} are too few; give at least {least}")
    if 0 < there < FEWEST:
        raise UserError(
            f"{dataset.name} has masks for {there} photos; advice needs {FEWEST} or more, as a probe is fitted to some "
            "and scored on the others; annotate more"
        )
    if target is None:
        return
    if not 0 < target < 1:
        raise UserError(f"--target-dice {target:g} is outside (0, 1)")
    if there < FEWEST_FOR_CURVE:
        raise UserError(
            f"--target-dice needs masks of {FEWEST_FOR_CURVE} photos or more to see how dice grows with their number; "
            f"{dataset.name} has {there or 'none'}; leave it out, or annotate more"
        )


def _drawn(dataset: Dataset, most: int, seed: int) -> Dataset:
    order = np.random.default_rng(seed).permutation(len(dataset))[:most]
    return dataset.only(dataset.samples[index].name for index in order)


def _spread(number, seed):
    """Row numbers of the pixels for what costs more, in order."""
    return np.sort(np.random.default_rng(seed).permutation(number)[:PIXELS])


def _features(encoder: keras.Model, images, points) -> tuple[PixelFeatures, np.ndarray]:
    size = images.shape[1]
    require_multiple(size, max(taps.strides(encoder).values()), "an encoder")
    fixed = encoder.input.shape[1:3]
    if None not in fixed and tuple(fixed) != (size, size):
        raise UserError(f"an encoder reads {fixed[0]} x {fixed[1]} pixels alone; give --image-size {fixed[0]}")
    features = extracted(encoder, images)
    return features, probe.at_points(features, points)


def _scaled(rows):
    deviation = rows.std(axis=0, dtype=np.float64)
    return (rows - rows.mean(axis=0, dtype=np.float64)) / np.where(deviation > 0, deviation, 1.0)


def _scores(features, segmentation, classes, points, rows, scaled, some, seed):
    """The probe, LogME and H-score; nothing without masks."""
    if segmentation is None:
        return ()
    probed = probe.cross_validated(features, segmentation, classes, seed=seed, rows=(points, rows))
    labels = points.label[some]
    if len(np.unique(labels)) < 2:
        return (probed,)
    with_ones = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
    return (
        probed,
        transferability.logme(with_ones, labels),
        transferability.h_score(scaled, labels, shrinkage=True),
    )


def _curve(features, segmentation, classes, points, rows, target, seed, progress):
    sizes = sizes_of_subsets(len(segmentation) - -(-len(segmentation) // PARTS))
    dice = probe.learning_curve(
        features,
        segmentation,
        classes,
        sizes,
        passes=PASSES,
        parts=PARTS,
        seed=seed,
        rows=(points, rows),
        progress=progress("fewer masks"),
    )
    law = power_law.fit(sizes, 1 - dice, seed=seed)
    return Curve(np.array(sizes), np.nanmean(dice, axis=2), law, target, law.needed(1 - target))


def _photos(encoder, fitted, features, without, image_size, count, seed, progress):
    """Names of the photos to annotate next."""
    pooled, doubt = [], []
    # A few at a time, because there may be thousands.
    for start in progress("looking at photos")(range(0, len(without), 32)):
        part = without[start : start + 32]
        images = decode(part, [], (image_size, image_size)).arrays["image"]
        seen = extracted(encoder, images)
        pooled.append(seen.pooled())
        doubt += [1.0 if fitted is None else fitted.doubt(seen, image) for image in range(len(images))]
    rows = selection.chosen(
        np.concatenate(pooled),
        np.array(doubt),
        count,
        annotated=None if fitted is None else features.pooled(),
        seed=seed,
    )
    return tuple(without.samples[row].name for row in rows)

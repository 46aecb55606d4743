"""A linear probe: how well a linear classifier on the frozen features of each pixel segments images that it was not
fitted to. It costs seconds, and tells encoders apart before any of them is trained."""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy import stats

from kerastransfer.analysis.pixel_features import PixelFeatures
from kerastransfer.metrics import segmentation as scores
from kerastransfer.vocabulary import VOID

# Pixels of each class that are drawn from an image: neighbours are much alike, so more of them say little.
PER_CLASS = 64
# Strength of the classifier's fit (scikit-learn's C) and its steps, measured on photos of people and pedestrians.
FIT, STEPS = 3e-3, 200
FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Points:
    """Pixels that a probe is fitted to: image, row, column, label and weight, (M,) each. A pixel's weight is the share
    of its image that it stands for, as each class of an image gives about as many pixels."""

    image: np.ndarray
    row: np.ndarray
    column: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


@dataclasses.dataclass(frozen=True)
class Probe:
    """A linear classifier of pixels: logits are features @ weights (D, K) + bias (K,)."""

    weights: np.ndarray
    bias: np.ndarray

    def classes(self, features: PixelFeatures, image: int) -> np.ndarray:
        """The most likely class (H, W) of each pixel of an image."""
        return features.linear(image, self.weights, self.bias).argmax(axis=-1)

    def doubt(self, features: PixelFeatures, image: int) -> float:
        """The mean entropy of the classes over the pixels of an image: 0 where it is sure of all, 1 where all classes
        are as likely everywhere."""
        logits = features.linear(image, self.weights, self.bias).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        likely = powers / powers.sum(axis=-1, keepdims=True)
        entropy = -(likely * np.log(np.maximum(likely, np.finfo(float).tiny))).sum(axis=-1)
        return float(entropy.mean() / np.log(max(2, likely.shape[-1])))


@dataclasses.dataclass(frozen=True)
class CrossValidated:
    """What the probe that was fitted to the other folds makes of each image, (N,) each.

    dice: NaN for an image without foreground in truth and prediction.
    auc: how well it tells the classes of an image apart, wherever it draws the line between them: the area under the
        ROC curve of one class against the others, over the image's points, averaged over its classes; NaN for an image
        of a single class. fold: the fold that an image is in.
    """

    dice: np.ndarray
    auc: np.ndarray
    fold: np.ndarray

    @property
    def by_fold(self) -> np.ndarray:
        """The mean dice of the images of each fold; NaN for a fold in which no image has one."""
        return np.array([_mean(self.dice[self.fold == one]) for one in np.unique(self.fold)])

    @property
    def mean(self) -> float:
        """The mean dice over all images."""
        return _mean(self.dice)

    @property
    def mean_auc(self) -> float:
        """The mean AUC over all images."""
        return _mean(self.auc)


def drawn(segmentation: np.ndarray, *, per_class: int = PER_CLASS, seed: int = 0) -> Points:
    """Pixels of maps (N, H, W) of classes, VOID where unknown: of each class that an image has at most `per_class`."""
    random, found = np.random.default_rng(seed), []
    for image, classes in enumerate(segmentation):
        flat = classes.ravel()
        for label in np.setdiff1d(flat, [VOID]):
            there = np.flatnonzero(flat == label)
            places = random.permutation(there)[:per_class]
            rows, columns = np.divmod(places, classes.shape[1])
            weight = len(there) / flat.size / len(places)
            one = np.ones(len(places))
            found.append((image * one, rows, columns, label * one, weight * one))
    if not found:
        raise ValueError("no pixel has a class: all are void")
    image, row, column, label, weight = (np.concatenate(values) for values in zip(*found, strict=True))
    return Points(image.astype(int), row.astype(int), column.astype(int), label.astype(int), weight)


def at_points(features: PixelFeatures, points: Points) -> np.ndarray:
    """The features (M, D) float32 of points, whose images are in order, as `drawn` gives them."""
    found = np.empty((len(points), features.channels), np.float32)
    for image in np.unique(points.image):
        here = points.image == image
        found[here] = features.at(image, points.row[here], points.column[here])
    return found


def fit(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, num_classes: int) -> Probe:
    """The probe fitted to features (M, D) of pixels of classes (M,) with weights (M,): logistic regression on features
    of zero mean and unit variance, with a squared penalty.

    A class that no pixel has is never predicted. Where there is but one, it always is.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    bias = np.full(num_classes, -np.inf)
    found = np.unique(labels)
    slopes = np.zeros((rows.shape[1], num_classes))
    if len(found) == 1:
        bias[found] = 0.0
        return Probe(slopes, _finite(bias))
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    # A feature that never changes says nothing.
    scale = np.where(deviation > 1e-6 * np.abs(mean).max(initial=0.0), 1 / np.maximum(deviation, 1e-30), 0.0)
    model = LogisticRegression(C=FIT, max_iter=STEPS, tol=1e-3)
    with warnings.catch_warnings():
        # The penalty bounds the fit; the last digits do not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        scaled = ((rows - mean) * scale).astype(np.float32)
        model.fit(scaled, labels, sample_weight=weights / weights.mean())
    coefficients, intercepts = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if len(found) == 2:
        # scikit-learn gives the second against the first.
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    slopes[:, found] = (coefficients * scale).T
    bias[found] = intercepts - mean @ slopes[:, found]
    return Probe(slopes, _finite(bias))


def cross_validated(
    features: PixelFeatures,
    segmentation: np.ndarray,
    num_classes: int,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    rows: tuple[Points, np.ndarray] | None = None,
) -> CrossValidated:
    """Dice and AUC of every image of maps (N, H, W), each scored by a probe that was fitted to the images of the other
    folds: never to pixels of the same image. The folds depend on N, `folds` and `seed` alone, so encoders can be
    compared image by image.

    rows: points and their features, where they are at hand (`drawn`, `at_points`). Raises ValueError for fewer images
    than folds.
    """
    number = len(segmentation)
    if not 2 <= folds <= number:
        raise ValueError(f"{number} images in {folds} folds; give 2 folds or more, and an image or more for each")
    points, values = rows or _rows(features, segmentation, seed)
    fold = np.empty(number, int)
    fold[np.random.default_rng(seed).permutation(number)] = np.arange(number) % folds
    dice, auc = np.full(number, np.nan), np.full(number, np.nan)
    for one in range(folds):
        train = fold[points.image] != one
        probe = fit(values[train], points.label[train], points.weight[train], num_classes)
        held = np.flatnonzero(fold == one)
        dice[held] = scored(probe, features, segmentation, held, num_classes)
        for image in held:
            here = points.image == image
            auc[image] = areas(values[here] @ probe.weights + probe.bias, points.label[here])
    return CrossValidated(dice, auc, fold)


def learning_curve(
    features: PixelFeatures,
    segmentation: np.ndarray,
    num_classes: int,
    sizes: Sequence[int],
    *,
    passes: int = 2,
    parts: int = 4,
    seed: int = 0,
    rows: tuple[Points, np.ndarray] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> np.ndarray:
    """Dice (passes * parts, len(sizes), N) of each image of maps (N, H, W) by probes that were fitted to so many
    others, and NaN where an image was not scored.

    In each pass every image is held out once, with the others of its part, and scored by probes fitted to images of
    the other parts, in a random order: a smaller subset is part of a larger one. Raises ValueError for a size that the
    other parts cannot give.
    """
    number = len(segmentation)
    most = number - -(-number // parts)
    if not sizes or min(sizes) < 1 or max(sizes) > most:
        raise ValueError(f"subsets of {list(sizes)} of {number} images in {parts} parts; give 1 to {most}")
    points, values = rows or _rows(features, segmentation, seed)
    found = np.full((passes * parts, len(sizes), number), np.nan)
    for draw in progress(range(passes * parts)):
        one, part = divmod(draw, parts)
        order = np.random.default_rng((seed, one)).permutation(number)
        held = np.arange(number) % parts == part
        rest = np.random.default_rng((seed, one, part)).permutation(order[~held])
        for place, size in enumerate(sizes):
            train = np.isin(points.image, rest[:size])
            probe = fit(values[train], points.label[train], points.weight[train], num_classes)
            found[draw, place, order[held]] = scored(probe, features, segmentation, order[held], num_classes)
    return found


def areas(logits: np.ndarray, labels: np.ndarray) -> float:
    """The area under the ROC curve of each class of labels (M,) against the others, from logits (M, K), averaged over
    the classes that occur; NaN for a single class."""
    found = []
    classes = np.unique(labels)
    for one in classes if len(classes) > 1 else ():
        others = np.delete(logits, one, axis=1).max(axis=1)
        ranks, true = stats.rankdata(logits[:, one] - others), labels == one
        above = ranks[true].sum() - true.sum() * (true.sum() + 1) / 2
        found.append(above / (true.sum() * (~true).sum()))
    return float(np.mean(found)) if found else np.nan


def scored(
    probe: Probe, features: PixelFeatures, segmentation: np.ndarray, images: Iterable[int], num_classes: int
) -> np.ndarray:
    """Dice of each of `images`, against their maps in segmentation (N, H, W)."""
    images = list(images)
    predictions = (probe.classes(features, image) for image in images)
    return scores.per_image((segmentation[image] for image in images), predictions, num_classes)["dice"]


def _rows(features, segmentation, seed):
    points = drawn(segmentation, seed=seed)
    return points, at_points(features, points)


def _finite(bias):
    """A class that is never predicted has a logit far below all others, which unlike minus infinity can be added."""
    return np.where(np.isfinite(bias), bias, -1e9)


def _mean(values):
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else np.nan

"""Linear classifiers of whole images: logistic regression with a softmax on features of zero mean and unit variance,
whose strength is chosen on held-out images. Features may be larger than memory.

`analysis.probe` is another probe, which classifies pixels.
"""

import dataclasses
import warnings

import numpy as np

from kerastransfer.analysis import scratch
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive

# Of more features than this, those directions are fitted that so many images span.
SPAN = 4096
# A direction of smaller variance, as a share of the largest one, is rounding.
ROUNDING = 1e-12


@dataclasses.dataclass
class Settings:
    """How probes are fitted."""

    strengths: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    """Strengths of the fit (scikit-learn's C) to choose from on held-out images; a larger one trusts the features
    more."""
    held_out: float = 0.1
    """Share of the training images that the strength is chosen on; the probe is then fitted to all of them."""
    steps: int = 200
    """Largest number of steps of a fit."""
    seed: int = 0
    """Seed of the choice of held-out images."""

    def __post_init__(self) -> None:
        require_positive(self, "steps", prefix="probes.")
        if not self.strengths or not all(0 < one < np.inf for one in self.strengths):
            raise UserError(f"--probes.strengths is {self.strengths}; give one number or more, each above 0 and finite")
        if not 0 < self.held_out < 1:
            raise UserError(f"--probes.held-out is {self.held_out}; give a share between 0 and 1, such as 0.1")


@dataclasses.dataclass(frozen=True)
class Rows:
    """Some rows (N,) of features (M, D), which are read where they are needed: of a memory-mapped file only a block is
    ever in memory."""

    features: np.ndarray
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.index), self.features.shape[1]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, place: slice | tuple[slice, slice]) -> np.ndarray:
        rows, columns = place if isinstance(place, tuple) else (place, slice(None))
        return self.features[self.index[rows], columns]


@dataclasses.dataclass(frozen=True)
class ImageProbe:
    """A linear classifier of images: logits are (features - mean) * scale @ weights + bias. mean, scale (D,), weights
    (D, K), bias (K,). strength: scikit-learn's C, of the fit."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    strength: float

    def logits(self, features: np.ndarray | Rows) -> np.ndarray:
        """(N, K) float64 of features (N, D)."""
        found = [self._of_block(features[rows]) for rows in scratch.blocks(features)]
        return np.concatenate(found) if found else np.zeros((0, len(self.bias)))

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, K) float64 of features (N, D)."""
        logits = self.logits(features)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def _of_block(self, features):
        scaled = (np.asarray(features, np.float32) - self.mean) * self.scale
        return (scaled @ self.weights).astype(np.float64) + self.bias


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a study of probes, as indices: those that probes are fitted to, and those that they are tested on.
    classes: (K,) labels, of which each has images in both; `labels` (N,) are places among them, -1 for other images.
    left_out: labels that have no image in one of the two."""

    train: np.ndarray
    test: np.ndarray
    classes: np.ndarray
    labels: np.ndarray
    left_out: np.ndarray


def adaptive_average(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps (N, h, w, D), averaged to (N, size, size, D) float32: place i of an axis of length h is the mean of
    floor(i h / size) .. ceil((i + 1) h / size) - 1. Neighbours overlap where h is not a multiple of `size`.

    Raises ValueError if a map has fewer places than that.
    """
    number, height, width, depth = maps.shape
    if not 1 <= size <= min(height, width):
        raise ValueError(f"maps of {height} x {width} and a size of {size}; give 1 to {min(height, width)}")
    down, along = _bins(height, size), _bins(width, size)
    found = scratch.zeros(number, size, size, depth)
    for rows in scratch.blocks(maps):
        block = np.asarray(maps[rows], np.float32)
        found[rows] = np.einsum("yh,nhwd,xw->nyxd", down, block, along, optimize=True)
    return found


def split(labels: np.ndarray, train: np.ndarray) -> Split:
    """Images by their labels (N,) and whether a classifier may be fitted to them, train (N,) bool.

    Raises LeftOut unless two classes have an image in both parts.
    """
    labels, train = np.asarray(labels), np.asarray(train, bool)
    classes = np.intersect1d(labels[train], labels[~train])
    if len(classes) < 2:
        raise LeftOut(
            f"{len(classes)} of {len(np.unique(labels))} classes has a training and a test image; a classifier needs 2"
        )
    places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    places = np.where(classes[places] == labels, places, -1)
    there = places >= 0
    return Split(
        np.flatnonzero(train & there),
        np.flatnonzero(~train & there),
        classes,
        places,
        np.setdiff1d(labels, classes),
    )


def held_out(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """(N,) bool: a share of the images with these labels (N,), drawn from those that leave another one of their class;
    none if there are none such."""
    order = np.random.default_rng(seed).permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)
    rest = np.delete(order, first)
    found = np.zeros(len(labels), bool)
    found[rest[: max(1, round(share * len(labels)))]] = True
    return found


def fitted(
    features: np.ndarray | Rows, labels: np.ndarray, num_classes: int, settings: Settings, *, of: str
) -> ImageProbe:
    """The probe of features (N, D) and labels (N,) in [0, num_classes), each of which occurs.

    The strength is the one of the best top-1 on held-out images, and of equals the one of the lower cross-entropy; 1,
    or the one nearest to it, if no image can be held out. If there are more features than images, they are rotated into
    the space that the images span, in which the same probe is found; if there are more than `SPAN` of both, into the
    space that so many of the images span, drawn with the seed, so that memory does not grow with either.
    of: the name of the features in a message. Raises UserError for features that are not finite, or all constant.
    """
    mean, scale = standard(features, of)
    rows, turned = _reduced(features, mean, scale, settings.seed)
    held = held_out(labels, settings.held_out, settings.seed)
    strengths = sorted(settings.strengths)
    best = min(strengths, key=lambda one: abs(np.log(one)))
    if held.any() and len(strengths) > 1:
        scores = []
        for strength, (weights, bias) in zip(
            strengths, _path(rows, labels, ~held, strengths, num_classes, settings.steps), strict=True
        ):
            logits = np.concatenate([rows[part][held[part]] @ weights for part in scratch.blocks(rows)]) + bias
            lost = np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)) + logits.max(axis=1)
            lost -= logits[np.arange(len(logits)), labels[held]]
            right = logits.argmax(axis=1) == labels[held]
            scores.append((-right.mean(), lost.mean(), strength))
        best = min(scores)[-1]
    ((weights, bias),) = _path(rows, labels, np.ones(len(rows), bool), [best], num_classes, settings.steps)
    return ImageProbe(mean, scale, turned(weights).astype(np.float32), bias, best)


def standard(features: np.ndarray | Rows, of: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of features (N, D) and one divided by their deviation, (D,) float32 each; 0 for a feature that never
    changes. Raises UserError, with the name `of` the features, if one is not finite, or if none changes."""
    number, depth = features.shape
    total, squares = np.zeros(depth), np.zeros(depth)
    for rows in scratch.blocks(features):
        block = np.asarray(features[rows], np.float64)
        if not np.isfinite(block).all():
            raise UserError(
                f"the features of {of} are not finite; train the model again with a lower learning rate, or in float32"
            )
        total += block.sum(axis=0)
    mean = total / number
    for rows in scratch.blocks(features):
        squares += ((features[rows] - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / number)
    changing = deviation > 1e-6 * np.abs(mean).max(initial=0.0)
    if not changing.any():
        raise UserError(
            f"the features of {of} are the same for every image; its weights are damaged or were never trained"
        )
    scale = np.where(changing, 1 / np.where(changing, deviation, 1.0), 0.0)
    return mean.astype(np.float32), scale.astype(np.float32)


def _reduced(features, mean, scale, seed):
    """Standardised features (N, min(N, D, SPAN)) float32, and a function from weights of these to weights of all.

    The weights that a squared penalty leaves are sums of the images' features, so the space that these span is enough.
    """
    number, depth = features.shape

    def standardised(images, part=slice(None)):
        return (np.asarray(features[images, part], np.float64) - mean[part]) * scale[part]

    if depth <= min(number, SPAN):
        rows = scratch.zeros(number, depth)
        for block in scratch.blocks(rows):
            rows[block] = standardised(block)
        return rows, lambda weights: weights
    images = np.sort(np.random.default_rng(seed).permutation(number)[:SPAN])
    width = max(1, scratch.BLOCK // len(images))
    parts = [slice(start, start + width) for start in range(0, depth, width)]
    products = np.zeros((len(images), len(images)))
    for part in parts:
        block = standardised(images, part)
        products += block @ block.T
    squares, vectors = np.linalg.eigh(products)
    there = squares > ROUNDING * squares.max()
    lengths, vectors = np.sqrt(squares[there]), vectors[:, there]

    def turned(weights, part):
        return standardised(images, part).T @ (vectors @ (weights / lengths[:, None]))

    def turned_in_parts(weights):
        return np.concatenate([turned(weights, part) for part in parts])

    if len(images) == number:
        return (vectors * lengths).astype(np.float32), turned_in_parts
    rows = scratch.zeros(number, len(lengths))
    for part in parts:
        directions = turned(np.eye(len(lengths)), part)
        for start in range(0, number, SPAN):
            block = slice(start, start + SPAN)
            rows[block] += standardised(block, part) @ directions
    return rows, turned_in_parts


def _path(rows, labels, chosen, strengths, num_classes, steps):
    """(weights (D, K), bias (K,)) for each of the strengths, in order, fitted to the chosen rows, (N,) bool; each fit
    begins where the last one ended."""
    import threadpoolctl
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=steps, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength)
        # The products are small: threads that wait for each other take many times as long.
        with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
            # The penalty bounds the fit; the last digits do not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Weights of 0, because to leave rows out would copy all others.
            model.fit(rows, labels, sample_weight=chosen.astype(rows.dtype))
        weights, bias = model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)
        if num_classes == 2:
            # scikit-learn gives the second against the first.
            weights = np.concatenate([-weights, weights], axis=1) / 2
            bias = np.concatenate([-bias, bias]) / 2
        yield weights, bias


def _bins(length: int, size: int) -> np.ndarray:
    """(size, length): which cells each bin averages."""
    matrix = np.zeros((size, length), np.float32)
    for place in range(size):
        start, end = place * length // size, -(-(place + 1) * length // size)
        matrix[place, start:end] = 1 / (end - start)
    return matrix

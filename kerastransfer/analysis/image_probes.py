"""Linear probes of whole images: what a linear classifier makes of the frozen features of two encoders (Li et al. 2019,
tables 6 and 7).

A probe is logistic regression with a softmax on features of zero mean and unit variance. It is fitted to pooled
features, and to maps that are pooled to fewer and fewer places, down to one. `analysis.probe` is another probe, which
classifies pixels.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.material import Features, pair
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive, some
from kerastransfer.metrics import bootstrap

TITLE = "Linear probes"
NEEDS = Features
# Sides that maps are pooled to, besides their own.
SIDES = (4, 2, 1)
# Values of features that are converted at a time.
BLOCK = 1 << 24
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
        found = [self._of_block(features[rows]) for rows in _blocks(features)]
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
    found = np.empty((number, size, size, depth), np.float32)
    for rows in _blocks(maps):
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
    or the one nearest to it, if no image can be held out. Memory grows with N * min(N, D): if there are more features
    than images, these are rotated into the space that the images span, in which the same probe is found.
    of: the name of the features in a message. Raises UserError for features that are not finite, or all constant.
    """
    mean, scale = standard(features, of)
    rows, turned = _reduced(features, mean, scale)
    held = held_out(labels, settings.held_out, settings.seed)
    strengths = sorted(settings.strengths)
    best = min(strengths, key=lambda one: abs(np.log(one)))
    if held.any() and len(strengths) > 1:
        scores = []
        for strength, (weights, bias) in zip(
            strengths, _path(rows[~held], labels[~held], strengths, num_classes, settings.steps), strict=True
        ):
            logits = rows[held] @ weights + bias
            lost = np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)) + logits.max(axis=1)
            lost -= logits[np.arange(len(logits)), labels[held]]
            right = logits.argmax(axis=1) == labels[held]
            scores.append((-right.mean(), lost.mean(), strength))
        best = min(scores)[-1]
    ((weights, bias),) = _path(rows, labels, [best], num_classes, settings.steps)
    return ImageProbe(mean, scale, turned(weights).astype(np.float32), bias, best)


def standard(features: np.ndarray | Rows, of: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of features (N, D) and one divided by their deviation, (D,) float32 each; 0 for a feature that never
    changes. Raises UserError, with the name `of` the features, if one is not finite, or if none changes."""
    number, depth = features.shape
    total, squares = np.zeros(depth), np.zeros(depth)
    for rows in _blocks(features):
        block = np.asarray(features[rows], np.float64)
        if not np.isfinite(block).all():
            raise UserError(
                f"the features of {of} are not finite; train the model again with a lower learning rate, or in float32"
            )
        total += block.sum(axis=0)
    mean = total / number
    for rows in _blocks(features):
        squares += ((features[rows] - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / number)
    changing = deviation > 1e-6 * np.abs(mean).max(initial=0.0)
    if not changing.any():
        raise UserError(
            f"the features of {of} are the same for every image; its weights are damaged or were never trained"
        )
    scale = np.where(changing, 1 / np.where(changing, deviation, 1.0), 0.0)
    return mean.astype(np.float32), scale.astype(np.float32)


def _reduced(features, mean, scale):
    """Standardised features (N, min(N, D)) float32, and a function from weights of these to weights of all.

    The weights that a squared penalty leaves are sums of the images' features, so the space that these span is enough.
    """
    number, depth = features.shape
    if depth <= number:
        rows = np.empty((number, depth), np.float32)
        for block in _blocks(features):
            rows[block] = (np.asarray(features[block], np.float32) - mean) * scale
        return rows, lambda weights: weights
    columns = [slice(start, start + max(1, BLOCK // number)) for start in range(0, depth, max(1, BLOCK // number))]

    def standardised(part):
        return (features[:, part].astype(np.float64) - mean[part]) * scale[part]

    products = np.zeros((number, number))
    for part in columns:
        block = standardised(part)
        products += block @ block.T
    squares, vectors = np.linalg.eigh(products)
    there = squares > ROUNDING * squares.max()
    lengths, vectors = np.sqrt(squares[there]), vectors[:, there]

    def turned(weights):
        shares = vectors @ (weights / lengths[:, None])
        return np.concatenate([standardised(part).T @ shares for part in columns])

    return (vectors * lengths).astype(np.float32), turned


def _path(rows, labels, strengths, num_classes, steps):
    """(weights (D, K), bias (K,)) for each of the strengths, in order; each fit begins where the last one ended."""
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
            model.fit(rows, labels)
        weights, bias = model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)
        if num_classes == 2:
            # scikit-learn gives the second against the first.
            weights = np.concatenate([-weights, weights], axis=1) / 2
            bias = np.concatenate([-bias, bias]) / 2
        yield weights, bias


def ladder(maps: np.ndarray, heads: Mapping[str, np.ndarray], pooled: np.ndarray) -> dict[str, Callable]:
    """What is probed of a model, {name: a function that gives features (N, D)}: the pooled map; the head's projected
    map as it is and pooled to fewer places, and what follows it; of a model without a head its own deepest map."""
    found: dict[str, Callable] = {"pooled": lambda: pooled}
    name, own = ("proj", heads["proj"]) if "proj" in heads else ("map", maps)
    height, width = own.shape[1:3]
    found[f"{name} {height}x{width}"] = lambda: own.reshape(len(own), -1)
    for side in SIDES:
        if side < min(height, width):
            found[f"{name} {side}x{side}"] = lambda side=side: adaptive_average(own, side).reshape(len(own), -1)
    if name == "map":
        # The mean over all places, which is probed already, from before it was rounded.
        found.pop("map 1x1", None)
    return found | {layer: lambda layer=layer: heads[layer] for layer in heads if layer != "proj"}


def study(settings: Settings, material: Features, progress: Callable[[Iterable], Iterable] = iter) -> Findings:
    """Fit and test the probes of both models. Raises LeftOut without labels, or for fewer than two classes that have a
    training and a test image; UserError as `fitted` does."""
    if material.labels is None:
        raise LeftOut("the images have no labels; give data for classification")
    parts = split(material.labels, material.train)
    first, second = pair(material.pooled)
    probed = {
        model: ladder(material.maps[model], material.heads[model], material.pooled[model]) for model in (first, second)
    }
    right: dict[str, dict[str, np.ndarray]] = {first: {}, second: {}}
    columns: dict[str, dict[str, tuple[int, float]]] = {first: {}, second: {}}
    for model, name in progress([(model, name) for model, of_model in probed.items() for name in of_model]):
        features = probed[model][name]()
        labels, num_classes = parts.labels[parts.train], len(parts.classes)
        probe = fitted(Rows(features, parts.train), labels, num_classes, settings, of=f"{model} ({name})")
        found = probe.logits(Rows(features, parts.test)).argmax(axis=1)
        right[model][name] = (found == parts.labels[parts.test]).astype(float)
        columns[model][name] = features.shape[1], probe.strength
    return _findings(material, parts, right, columns)


def _findings(material, parts, right, columns):
    from kerastransfer.report.page import Estimate, Figure, Table

    first, second = right
    findings = Findings(TITLE, text=[_said(material, parts)])
    for model, probes in right.items():
        findings.numbers[model] = {
            **{f"accuracy/{name}": float(values.mean()) for name, values in probes.items()},
            "images": len(parts.test),
            "classes": len(parts.classes),
        }
    names = list(dict.fromkeys(name for probes in right.values() for name in probes))
    rows = []
    for name in names:
        row = []
        for model, probes in right.items():
            there = name in probes
            row += [Estimate(*bootstrap.interval(probes[name])), *columns[model][name]] if there else [None] * 3
        rows.append((name, row))
    headings = [f"{what} {model}" for model in right for what in ("top-1", "features of", "C of")]
    findings.tables.append(Table(headings, rows, "Top-1 of linear probes on test images", "features"))

    changes, curves = [], {}
    for model, probes in right.items():
        ends = _ends(probes)
        change = ends and Estimate(*bootstrap.paired_difference(probes[ends[1]], probes[ends[0]]))
        changes.append((model, [change or None]))
        curves[model] = _curve(probes)
        if model == first and ends:
            findings.claims.append(
                Claim(
                    "Accuracy rises as spatial detail is averaged away.",
                    f"top-1 of {first}, {ends[1]} minus {ends[0]}",
                    change,
                )
            )
    title = "Top-1 of the map's mean minus that of the whole map"
    findings.tables.append(Table(["difference"], changes, title, "model"))
    findings.claims += _of_head(first, right[first])
    findings.claims.append(
        Claim(
            "In linear probes of pooled features, pre-training on classification is better than on detection.",
            f"top-1 of {second} minus {first}, pooled",
            Estimate(*bootstrap.paired_difference(right[second]["pooled"], right[first]["pooled"])),
        )
    )
    if any(len(sides) > 1 for sides, *_ in curves.values()):
        findings.figures.append(_chart(curves, Figure))
    return findings


def _of_head(model, probes) -> list[Claim]:
    """The claims about the head of a model, if it has one."""
    from kerastransfer.report.page import Estimate

    claims = []
    if {"fc1", "fc2"} <= probes.keys():
        difference = Estimate(*bootstrap.paired_difference(probes["fc1"], probes["fc2"]))
        text = "The first fully connected layer of the head is better than the second."
        claims.append(Claim(text, f"top-1 of {model}, fc1 minus fc2", difference))
    of_head = {name: values for name, values in probes.items() if name.startswith(("proj", "fc"))}
    if of_head:
        best = max(of_head, key=lambda name: of_head[name].mean())
        difference = Estimate(*bootstrap.paired_difference(probes["pooled"], of_head[best]))
        text = "The pooled map is better than all features of the head."
        claims.append(Claim(text, f"top-1 of {model}, pooled minus {best}, the best of the head", difference))
    return claims


def _ends(probes) -> tuple[str, str] | None:
    """The names of the whole map and of its mean."""
    whole = next((name for name in probes if name.startswith(("proj ", "map "))), "")
    mean = "proj 1x1" if whole.startswith("proj") else "pooled"
    return (whole, mean) if whole not in ("", mean) else None


def _curve(probes):
    """Sides and accuracies of the map that is pooled to fewer and fewer places, for a chart."""
    points = {}
    for name, values in probes.items():
        kind, _, shape = name.partition(" ")
        if shape:
            points[int(shape.partition("x")[0])] = values.mean()
            if kind == "map":
                points[1] = probes["pooled"].mean()
    sides = sorted(points)
    return sides, [points[side] for side in sides], None


def _chart(curves, figure):
    from kerastransfer.report import figures

    caption = (
        "Top-1 of linear probes on maps that are averaged to so many places along each side: of the head's projected "
        "map, or of the deepest map of a model without one. On the left nothing is left of where something is."
    )
    picture = figures.lines(curves, x="places along a side", y="top-1", logarithmic=True)
    return "probes", figure("Probes of pooled maps", caption, b"", chart=True), picture


def _said(material, parts) -> str:
    text = (
        f"Logistic regression on frozen features, fitted to {len(parts.train):,} and tested on {len(parts.test):,} "
        f"images of {len(parts.classes):,} classes; differences are paired by test image. Pooled is the mean of the "
        "deepest map over all places; proj, fc1 and fc2 are of a detector's head."
    )
    if len(parts.left_out):
        names = [str(material.classes[label]) for label in parts.left_out]
        text += f" Left out, as they have no image in one of both parts: {some(names)}."
    return text


def _blocks(values: np.ndarray | Rows) -> Sequence[slice]:
    """Slices of rows that have at most `BLOCK` values each."""
    rows = max(1, BLOCK // max(1, int(np.prod(values.shape[1:]))))
    return [slice(start, start + rows) for start in range(0, len(values), rows)]


def _bins(length: int, size: int) -> np.ndarray:
    """(size, length): which cells each bin averages."""
    matrix = np.zeros((size, length), np.float32)
    for place in range(size):
        start, end = place * length // size, -(-(place + 1) * length // size)
        matrix[place, start:end] = 1 / (end - start)
    return matrix

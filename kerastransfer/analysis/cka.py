"""Centred kernel alignment, how alike two representations of the same images are (CKA, Kornblith et al. 2019)."""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

Kind = Literal["linear", "debiased", "rbf"]
KINDS = ("linear", "debiased", "rbf")
# Of the median distance between images: the width of the RBF kernel (Kornblith et al. 2019, section 3).
BANDWIDTH = 0.5


def cka(x: np.ndarray, y: np.ndarray, kind: Kind = "linear") -> float:
    """CKA of two representations x (n, p) and y (n, q) of the same n images: 1 if they are equal up to rotation and
    scale, about 0 if they have nothing in common.

    kind: "linear"; "debiased", which does not grow with the number of features and may be a little below 0; or "rbf",
        with a kernel half as wide as the median distance between images.
    Memory grows with n * n, and with n * (p + q), the arrays themselves.
    Raises ValueError for other shapes, for features that are not finite, and for fewer than 2 images (4 for
    "debiased").
    """
    x, y = _checked(x, y, kind)
    return _aligned(_gram(x, kind), _gram(y, kind), kind)


def over_batches(batches: Iterable[Mapping[str, np.ndarray]]) -> dict[tuple[str, str], float]:
    """The debiased linear CKA of all pairs of representations, over batches of images (Nguyen et al. 2021, section 2).

    batches: {name: (n, ...)} for each batch of n images, 4 or more, with the same names in each. The result is
        {(one, other): CKA}, both ways. It estimates that over all images without bias, and memory does not grow with
        their number. (The other kinds need all images at once.)
    Raises ValueError as `cka` does, and for a batch with other names than the first.
    """
    sums: dict[tuple[str, str], float] = {}
    for batch in batches:
        names = {one for one, _ in sums} or set(batch)
        if set(batch) != names:
            raise ValueError(f"a batch of {sorted(batch)} after one of {sorted(names)}; give the same names in each")
        grams = {}
        for name, values in batch.items():
            values = np.asarray(values).reshape(len(values), -1)
            grams[name] = _centred(_gram(_checked(values, values, "debiased", name)[0], "debiased"), "debiased")
        for one, left in grams.items():
            for other, right in grams.items():
                sums[one, other] = sums.get((one, other), 0.0) + float(np.vdot(left, right))
    if not sums:
        raise ValueError("CKA needs at least one batch of images")
    return {
        (one, other): value / np.sqrt(max(sums[one, one] * sums[other, other], np.finfo(float).tiny))
        for (one, other), value in sums.items()
    }


def _checked(x, y, kind, *names):
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: choose from {KINDS}")
    x, y = (np.asarray(values, "float64") for values in (x, y))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"got features {x.shape} and {y.shape}; give (n, p) and (n, q) of the same n images")
    fewest = 4 if kind == "debiased" else 2
    if len(x) < fewest:
        raise ValueError(f"got features of {len(x)} images; CKA of the kind {kind!r} needs {fewest} or more")
    for name, values in zip(names or ("x", "y"), (x, y), strict=False):
        if not np.isfinite(values).all():
            raise ValueError(f"the features {name} are not finite")
    return x, y


def _gram(values, kind):
    """(n, n): how alike each two images are."""
    # Without it the products of large, similar values would lose what differs.
    values = values - values.mean(0)
    products = values @ values.T
    if kind != "rbf":
        return products
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * products, 0.0)
    width = 2 * BANDWIDTH**2 * np.median(distances)
    return np.exp(-distances / max(width, np.finfo(float).tiny))


def _centred(gram, kind):
    if kind != "debiased":
        rows = gram.mean(0, keepdims=True)
        return gram - rows - rows.T + gram.mean()
    # U-centring (Szekely and Rizzo 2014): as if means were those of the other images.
    number = len(gram)
    gram = gram - np.diag(np.diag(gram))
    means = gram.sum(0, keepdims=True) / (number - 2)
    means = means - means.sum() / (2 * (number - 1))
    gram = gram - means - means.T
    return gram - np.diag(np.diag(gram))


def _aligned(left, right, kind):
    left, right = _centred(left, kind), _centred(right, kind)
    return float(np.vdot(left, right) / max(np.linalg.norm(left) * np.linalg.norm(right), np.finfo(float).tiny))

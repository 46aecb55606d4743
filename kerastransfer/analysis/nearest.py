"""Which two images are most alike to an encoder (Li et al. 2019, figure 5), and which are alike to one and
far apart to another?"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

from kerastransfer.analysis.co_assignment import clustered
from kerastransfer.analysis.findings import Findings
from kerastransfer.analysis.material import Features, pair
from kerastransfer.analysis.pooled_features import pooled
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive

TITLE = "Nearest images"
NEEDS = Features
Metric = Literal["euclidean", "dot", "cosine", "correlation"]
METRICS = ("euclidean", "dot", "cosine", "correlation")
# Two images that are more alike than this are taken for copies of one.
COPIES = 0.999
# Rows that are compared with all others at a time.
BLOCK = 512
# Neighbours of an image that count as close to it, by rank.
CLOSE = 5
# The paper's numbers of clusters: more than the one for "close", fewer than the other for "distant". The first is for
# about 30,000 images; of fewer, clusters would be single images.
MANY, FEW = 1000, 4
# Images in a cluster, on average, where there are too few for MANY.
IN_A_CLUSTER = 5


@dataclasses.dataclass
class Settings:
    """Settings of the study of nearest images."""

    metric: Literal["euclidean", "dot", "cosine", "correlation"] = "correlation"
    """How alike two images are: by the distance of their features, their inner product, its cosine, or the correlation
    over features."""
    pairs: int = 12
    """Number of pairs of images that are shown for each model."""
    copies: bool = False
    """Also show pairs that are copies of one image, or nearly so (a correlation or cosine above 0.999)."""
    apart: Literal["rank", "clusters"] = "rank"
    """What is close to one model and distant to the other: among the 5 nearest images of each other and as far apart
    as possible in rank (`rank`), or in the same of many clusters and in different ones of few (`clusters`, as in Li et
    al. 2019)."""
    counted: int = 1000
    """Number of nearest pairs whose labels are compared; at most as many as there are images."""
    seed: int = 0
    """Seed of the clusters."""

    def __post_init__(self) -> None:
        require_positive(self, "pairs", "counted", prefix="nearest.")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of images, best first. images: (n, 2), the smaller number first. similarity: (n,), in the space in which
    they are close; a negative distance for "euclidean". apart: (n,), how far apart they are in the other space: the
    share of the other images that are nearer, 0..1; NaN where there is no other space."""

    images: np.ndarray
    similarity: np.ndarray
    apart: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> "Pairs":
        """The best of them."""
        return Pairs(self.images[:count], self.similarity[:count], self.apart[:count])


def nearest_pairs(
    features: np.ndarray, count: int = 10, metric: Metric = "correlation", *, copies: bool = True
) -> Pairs:
    """The `count` most similar pairs of images in features (N, D), of all pairs; fewer if there are not as many.

    metric: "euclidean" (the negative distance), "dot", "cosine", or "correlation" over features. copies: keep pairs
        whose similarity is above `COPIES`; of "euclidean" and "dot", whose cosine is. Of equally similar pairs that of
        the smaller numbers is first.
    Memory grows with N, not with its square. Raises ValueError for an unknown metric or other shapes.
    """
    prepared = _prepared(features, metric)
    alike = None if copies else _prepared(features, metric if metric == "correlation" else "cosine")
    images, values = np.zeros((0, 2), np.int64), np.zeros(0)
    for start in range(0, len(prepared), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(prepared)))
        # Each pair once.
        found = _similarities(prepared[rows], prepared[start:], metric)
        kept = np.arange(start, len(prepared)) > rows[:, None]
        if alike is not None:
            kept &= alike[rows] @ alike[start:].T <= COPIES
        if len(values) >= count:
            kept &= found >= values[-1]
        if np.count_nonzero(kept) > count:
            # Those equal to the last stay, to be put in order.
            kept &= found >= -np.partition(-found[kept], count - 1)[count - 1]
        one, other = np.nonzero(kept)
        images = np.concatenate([images, np.stack([rows[one], start + other], axis=1)])
        values = np.concatenate([values, found[one, other]])
        order = np.lexsort((images[:, 1], images[:, 0], -values))[:count]
        images, values = images[order], values[order]
    # Small distances lose digits in products of large numbers.
    values = _of_pairs(prepared, images, metric)
    order = np.lexsort((images[:, 1], images[:, 0], -values))
    return Pairs(images[order], values[order], np.full(len(values), np.nan))


def apart_by_rank(
    close: np.ndarray, distant: np.ndarray, count: int = 10, metric: Metric = "correlation", *, neighbours: int = CLOSE
) -> Pairs:
    """Pairs of images that are close in features (N, D) and distant in features (N, E): each is among the `neighbours`
    nearest images of the other in the one space, and they are as far apart as possible in the other.

    How far: the share of the other images that are nearer, from that image of the two that sees fewer.
    """
    near, far = _prepared(close, metric), _prepared(distant, metric)
    if len(near) != len(far):
        raise ValueError(f"got features of {len(near)} and of {len(far)} images; give those of the same images")
    neighbours = min(neighbours, len(near) - 1)
    if neighbours < 1:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0))
    chosen, values = [], []
    for _, found in _rows(near, metric):
        # A copy, since a part of an array keeps all of it.
        best = np.argpartition(-found, neighbours - 1, axis=1)[:, :neighbours].copy()
        chosen.append(best)
        values.append(np.take_along_axis(found, best, axis=1))
    chosen, values = np.concatenate(chosen), np.concatenate(values)
    # From both sides.
    there = (chosen[chosen] == np.arange(len(near))[:, None, None]).any(axis=2)
    shares = _shares_nearer(far, chosen, metric)
    one, place = np.nonzero(there)
    other, similarity, share = chosen[one, place], values[one, place], shares[one, place]
    # Each pair is there from both sides, in the same order after sorting.
    sides = [np.lexsort((high, low)) for low, high in ((one, other), (other, one))]
    upper = one[sides[0]] < other[sides[0]]
    smaller = np.minimum(share[sides[0]], share[sides[1]])[upper]
    images = np.stack([one[sides[0]], other[sides[0]]], axis=1)[upper]
    similarity = similarity[sides[0]][upper]
    order = np.lexsort((images[:, 1], images[:, 0], -similarity, -smaller))[:count]
    return Pairs(images[order], similarity[order], smaller[order])


def apart_by_clusters(
    close: np.ndarray,
    distant: np.ndarray,
    count: int = 10,
    metric: Metric = "correlation",
    *,
    many: np.ndarray,
    few: np.ndarray,
) -> Pairs:
    """Pairs of images that share one of many clusters in features (N, D) and not one of few in features (N, E), those
    that are most similar in the first before others. many, few: (N,) the cluster of each image in the first space, and
    in the second."""
    near, far = _prepared(close, metric), _prepared(distant, metric)
    images = []
    for cluster in np.unique(many):
        members = np.flatnonzero(many == cluster)
        one, other = np.triu_indices(len(members), 1)
        both = np.stack([members[one], members[other]], axis=1)
        images.append(both[few[both[:, 0]] != few[both[:, 1]]])
    images = np.concatenate(images)
    similarity = _of_pairs(near, images, metric)
    order = np.lexsort((images[:, 1], images[:, 0], -similarity))[:count]
    images, similarity = images[order], similarity[order]
    sides = [_shares_nearer(far, images[:, [1 - side]], metric, images[:, side])[:, 0] for side in (0, 1)]
    return Pairs(images, similarity, np.minimum(*sides))


def study(settings: Settings, material: Features, progress: Callable) -> Findings:
    """The nearest pairs of both models, and those that are close to one alone. Raises UserError for useless features
    and for a single image."""
    material = material.unseen
    names = pair(material.pooled)
    spaces = pooled(material)
    images = len(material.names)
    if images < 3:
        raise UserError(f"there are {images} images; the study of nearest images needs 3 or more: give more data")
    number = max(settings.pairs, min(settings.counted, images))
    ordered = {
        name: nearest_pairs(spaces[name], number, settings.metric, copies=settings.copies)
        for name in progress(list(names))
    }
    split = {}
    for one, other in (names, names[::-1]):
        both = spaces[one], spaces[other]
        if settings.apart == "rank":
            split[one] = apart_by_rank(*both, images, settings.metric)
        else:
            many, few = numbers_of_clusters(images)
            labels = {"many": clustered(both[0], many, settings.seed), "few": clustered(both[1], few, settings.seed)}
            split[one] = apart_by_clusters(*both, images, settings.metric, **labels)
    return _findings(settings, material, names, ordered, split)


def numbers_of_clusters(images: int) -> tuple[int, int]:
    """Many and few clusters for so many images: as in the paper, or fewer where there would be less than
    `IN_A_CLUSTER` images in each of the many."""
    many = max(2, min(MANY + 1, images // IN_A_CLUSTER))
    return many, max(2, min(FEW, many - 1))


def _findings(settings, material, names, ordered, split):
    from kerastransfer.report.page import Figure, Table

    first, second = names
    text = [
        f"How alike two images are is measured by {_WORDS[settings.metric]}. The paper names three measures for the "
        "same figure: distance, inner product and correlation.",
        _meaning(settings, len(material.names)),
    ]
    if not settings.copies:
        measure = "correlation" if settings.metric == "correlation" else "cosine"
        text.append(f"Pairs whose {measure} is above {COPIES} are left out among the nearest, as copies of one image.")
    figures = []
    for number, name in enumerate(names):
        title = f"Nearest images to {name}"
        figures.append(
            (f"nearest_{number + 1}", Figure(title, "Below each pair: how alike the two are.", b""),
             _sheet(material, ordered[name].first(settings.pairs)))
        )  # fmt: skip
    for number, (name, other) in enumerate((names, names[::-1])):
        shown = split[name].first(settings.pairs)
        if not len(shown):
            text.append(f"No pair is close to {name} and distant to {other}.")
            continue
        caption = f"Below each pair: the share of the other images that are nearer to {other}."
        figures.append(
            (f"nearest_apart_{number + 1}", Figure(f"Close to {name}, distant to {other}", caption, b""),
             _sheet(material, shown, apart=True))
        )  # fmt: skip
    numbers, tables = {name: {} for name in names}, []
    if material.labels is not None:
        labels = np.asarray(material.labels)
        counted = min(settings.counted, len(labels))
        shares = {name: _alike(ordered[name].first(counted), labels) for name in names}
        counts = np.bincount(labels).astype(np.float64)
        chance = float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))
        numbers = {name: {"accuracy_nearest_pairs": shares[name]} for name in names}
        rows = [
            (f"the {counted:,} nearest pairs", [shares[name] for name in names]),
            ("all pairs", [chance, chance]),
        ]
        tables.append(Table([first, second], rows, "Share of pairs whose two images have the same label", "pairs"))
    return Findings(TITLE, text=text, numbers=numbers, tables=tables, figures=figures)


_WORDS = {
    "euclidean": "the distance of their features (shown with a minus)",
    "dot": "the inner product of their features",
    "cosine": "the cosine of the angle between their features",
    "correlation": "the correlation of their features",
}


def _meaning(settings, images):
    if settings.apart == "rank":
        return (
            f"Close to one model and distant to the other: each of the two images is among the "
            f"{min(CLOSE, images - 1)} nearest of the other to the one model, and as many images as possible are "
            "nearer to the other model."
        )
    many, few = numbers_of_clusters(images)
    return (
        f"Close to one model and distant to the other: in the same of {many} clusters of the one, and in different "
        f"ones of {few} clusters of the other (in the paper more than {MANY} and fewer than 5; here as many as suit "
        f"{images} images)."
    )


def _sheet(material, pairs, apart=False):
    """Pictures of pairs, the two images of each side by side."""
    from PIL import Image

    from kerastransfer.report import pictures

    side = (pictures.TILE - 2) // 2
    tiles = []
    for (one, other), similarity, share in zip(pairs.images, pairs.similarity, pairs.apart, strict=True):
        tile = Image.new("RGBA", (pictures.TILE, side))
        for left, image in ((0, one), (pictures.TILE - side, other)):
            tile.paste(pictures.fitted(np.asarray(material.images[image]), side), (left, 0))
        text = f"{share:.0%}" if apart else f"{similarity:.3f}"
        if material.labels is not None:
            text += ": " + ", ".join(material.classes[material.labels[image]] for image in (one, other))
        tiles.append((text, tile))
    return pictures.sheet(tiles, columns=max(1, min(3, len(tiles))))


def _alike(pairs, labels):
    """The share of pairs whose labels are equal; NaN without pairs."""
    return float((labels[pairs.images[:, 0]] == labels[pairs.images[:, 1]]).mean()) if len(pairs) else np.nan


def _prepared(features, metric):
    """Features (N, D) float64 such that the similarity of two images is simple: of unit length for "cosine" and
    "correlation", where images without direction have similarity 0 to all."""
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}; choose from {METRICS}")
    features = np.asarray(features, np.float64)
    if features.ndim != 2:
        raise ValueError(f"got features {features.shape}; give (N, D)")
    if not np.isfinite(features).all():
        image = int(np.argmin(np.isfinite(features).all(axis=1)))
        raise ValueError(f"the features of image {image} are not finite")
    if metric == "dot":
        return features
    if metric == "euclidean":
        # A shift leaves distances alone, and less is lost in differences of large numbers.
        return features - features.mean(axis=0)
    if metric == "correlation":
        features = features - features.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 1e-12 * max(1e-300, lengths.max(initial=0.0)), lengths, np.inf)


def _similarities(one, other, metric):
    """How alike each of one (n, D) and each of other (m, D) are, (n, m); both prepared."""
    products = one @ other.T
    if metric != "euclidean":
        return products
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * products
    return -np.sqrt(np.maximum(squares, 0.0))


def _of_pairs(prepared, images, metric):
    """How alike the two images of each pair (n, 2) are, (n,)."""
    one, other = prepared[images[:, 0]], prepared[images[:, 1]]
    if metric == "euclidean":
        return -np.linalg.norm(one - other, axis=1)
    return np.einsum("nd,nd->n", one, other)


def _rows(prepared, metric, images=None):
    """(which images, their similarity to all (n, N)) for blocks of images; that to themselves is minus infinity."""
    images = np.arange(len(prepared)) if images is None else images
    for start in range(0, len(images), BLOCK):
        rows = images[start : start + BLOCK]
        found = _similarities(prepared[rows], prepared, metric)
        found[np.arange(len(rows)), rows] = -np.inf
        yield rows, found


def _shares_nearer(prepared, others, metric, images=None):
    """For images (n,), all by default, and others (n, m): the share of the images apart from the two that are nearer to
    the image than the other is, (n, m)."""
    counted, start = np.zeros(others.shape), 0
    for rows, found in _rows(prepared, metric, images):
        here = slice(start, start + len(rows))
        for column, level in enumerate(np.take_along_axis(found, others[here], axis=1).T):
            counted[here, column] = (found > level[:, None]).sum(axis=1)
        start += len(rows)
    return counted / max(1, len(prepared) - 2)

"""Do images that are alike to one encoder look alike to another? (Li et al. 2019, figure 6.) Both feature
spaces are clustered; of two images in a cluster of the one, how often are both in a cluster of the other?"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from kerastransfer.analysis.findings import Claim, Findings
from kerastransfer.analysis.material import Features, pair
from kerastransfer.analysis.pooled_features import pooled
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.metrics.pooled import deviation, ends

TITLE = "Pairs that share a cluster"
NEEDS = Features
RESTARTS = 3
# With more images k-means looks at some of them at a time.
MOST_AT_ONCE = 4000


@dataclasses.dataclass
class Settings:
    """Settings of the study of clusters."""

    clusters: tuple[int, ...] = (2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
    """Numbers of clusters. Those above half of the number of images are left out."""
    pairs: int = 100_000
    """Number of pairs of images that are drawn for each number of clusters, in either direction."""
    uniform_pairs: bool = False
    """Draw every pair that shares a cluster with the same probability; otherwise an image is drawn first, and then
    another one of its cluster."""
    normalised: bool = False
    """Scale the features of each image to length 1 before they are clustered."""
    repeats: int = 3
    """Number of times that both spaces are clustered, each time with another seed."""
    resamples: int = 300
    """Number of draws of the images that the intervals come from."""
    seed: int = 0
    """Seed of the first clustering, of the pairs and of the draws."""

    def __post_init__(self) -> None:
        require_positive(self, "pairs", "repeats", "resamples", prefix="co_assignment.")
        if not self.clusters or min(self.clusters) < 2:
            given = " ".join(map(str, self.clusters)) or "empty"
            raise UserError(f"--co-assignment.clusters is {given}; give numbers of clusters from 2")


@dataclasses.dataclass(frozen=True)
class CoAssignment:
    """Pairs that share a cluster in spaces A and B, for each of G numbers of clusters; (G,) unless said otherwise.

    clusters: how many there are. b_given_a: the share of the pairs drawn from clusters of A that share one of B;
    a_given_b: the reverse. exact_b_given_a, exact_a_given_b: the probabilities that these estimate, over all pairs.
    chance_b, chance_a: the sum of squares of the shares of images that the clusters of B (A) have: what b_given_a
    (a_given_b) would be of independent clusterings of very many images. distinct_b, distinct_a: the same for pairs of
    two different images, which matters where clusters are small. labels_a, labels_b: (G, N) the cluster of each image.

    All shares are NaN where no cluster has two images.
    """

    clusters: np.ndarray
    b_given_a: np.ndarray
    a_given_b: np.ndarray
    exact_b_given_a: np.ndarray
    exact_a_given_b: np.ndarray
    chance_b: np.ndarray
    chance_a: np.ndarray
    distinct_b: np.ndarray
    distinct_a: np.ndarray
    labels_a: np.ndarray
    labels_b: np.ndarray


def co_assignment(
    features_a: np.ndarray,
    features_b: np.ndarray,
    clusters: int | Sequence[int],
    seed: int = 0,
    *,
    pairs: int = 100_000,
    uniform_pairs: bool = False,
    normalised: bool = False,
    progress: Callable = iter,
) -> CoAssignment:
    """Co-assignment of pairs by k-means in features (N, D) and (N, E) of the same N images.

    clusters: a number K of clusters, or several, from 1 to N, each for both spaces.
    pairs, uniform_pairs, normalised: as in `Settings`.
    k-means begins with k-means++ (Arthur and Vassilvitskii 2007) and is the best of `RESTARTS`; above `MOST_AT_ONCE`
    images it is that of mini-batches (Sculley 2010). The same seed is used for both spaces, so that equal spaces have
    equal clusters.
    Raises ValueError for other shapes, for features that are not finite or the same for all images, and for more
    clusters than images.
    """
    clusters = np.atleast_1d(clusters).tolist()
    features_a, features_b = _checked(features_a, features_b, clusters)
    found = {field.name: [] for field in dataclasses.fields(CoAssignment)}
    random = np.random.default_rng(seed)
    for number in progress(clusters):
        a, b = (clustered(one, number, seed, normalised=normalised) for one in (features_a, features_b))
        chance_a, chance_b = chance(a), chance(b)
        one = {
            "clusters": number,
            "b_given_a": _share(drawn_pairs(a, pairs, random, uniform=uniform_pairs), b),
            "a_given_b": _share(drawn_pairs(b, pairs, random, uniform=uniform_pairs), a),
            "exact_b_given_a": probability(a, b, uniform=uniform_pairs),
            "exact_a_given_b": probability(b, a, uniform=uniform_pairs),
            "chance_b": chance_b,
            "chance_a": chance_a,
            "distinct_b": _distinct(chance_b, len(a)),
            "distinct_a": _distinct(chance_a, len(a)),
            "labels_a": a,
            "labels_b": b,
        }
        for name, value in one.items():
            found[name].append(value)
    return CoAssignment(**{name: np.array(values) for name, values in found.items()})


def clustered(features: np.ndarray, number: int, seed: int = 0, *, normalised: bool = False) -> np.ndarray:
    """The cluster (N,) int32 of each image in features (N, D), by k-means as in `co_assignment`."""
    import threadpoolctl
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if normalised:
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        features = features / np.where(lengths > 0, lengths, 1)
    if len(features) <= MOST_AT_ONCE:
        model = KMeans(number, n_init=RESTARTS, random_state=seed)
    else:
        model = MiniBatchKMeans(
            number, n_init=RESTARTS, random_state=seed, batch_size=max(1024, 2 * number), max_no_improvement=10
        )
    # With more threads sums are rounded in any order, and on a busy machine they wait for each other most of the time.
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        # Where images are copies of each other there can be fewer clusters than asked for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit_predict(features).astype(np.int32)


def drawn_pairs(labels: np.ndarray, count: int, random: np.random.Generator, *, uniform: bool = False) -> np.ndarray:
    """Pairs (count, 2) of different images that share a cluster in `labels` (N,); none if no cluster has two images.

    The first image of a pair is drawn from all that share a cluster with another, and the second from the rest of its
    cluster. uniform: every pair is as likely, so that a cluster of n images is drawn in proportion to n (n - 1).
    """
    sizes = np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    starts = np.cumsum(sizes) - sizes
    # In `order` the images of a cluster are next to each other.
    several = order[sizes[labels[order]] > 1]
    if not len(several):
        return np.zeros((0, 2), np.int64)
    if uniform:
        # An image with n - 1 others is drawn n - 1 times as often.
        weights = sizes[labels[several]] - 1.0
        one = random.choice(several, count, p=weights / weights.sum())
    else:
        one = random.choice(several, count)
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels))
    cluster = labels[one]
    # One of the n - 1 others, counted from the place after the image and round to the place before it.
    step = random.integers(1, sizes[cluster])
    other = starts[cluster] + (place[one] - starts[cluster] + step) % sizes[cluster]
    return np.stack([one, order[other]], axis=1)


def probability(
    given: np.ndarray, wanted: np.ndarray, *, uniform: bool = False, weights: np.ndarray | None = None
) -> float:
    """The probability that a pair drawn from clusters of `given` (N,) shares one of `wanted` (N,), from how many images
    are in each cluster of both; NaN where no cluster has two images.

    uniform: as in `drawn_pairs`. weights: how often each image is there, (N,) whole numbers; copies of one are no pair.
    """
    weights = np.ones(len(given)) if weights is None else np.asarray(weights, np.float64)
    _, both = np.unique(given.astype(np.int64) * (int(wanted.max(initial=0)) + 1) + wanted, return_inverse=True)
    # Others in the cluster of each image, and those of them that are also in its cluster of the other space.
    others = np.bincount(given, weights)[given] - weights
    shared = np.bincount(both, weights)[both] - weights
    there = (others > 0) & (weights > 0)
    if not there.any():
        return np.nan
    weights, others, shared = weights[there], others[there], shared[there]
    if uniform:
        return float((weights * shared).sum() / (weights * others).sum())
    return float((weights * shared / others).sum() / weights.sum())


def chance(labels: np.ndarray) -> float:
    """The sum of squares of the shares of images that each cluster has in `labels` (N,)."""
    return float(((np.bincount(labels) / len(labels)) ** 2).sum())


def study(settings: Settings, material: Features, progress: Callable) -> Findings:
    """Co-assignment of both models' features. Raises UserError for too few images and for useless features."""
    material = material.unseen
    names = pair(material.pooled)
    a, b = pooled(material).values()
    clusters = sorted({number for number in settings.clusters if 2 * number <= len(a)})
    if not clusters:
        raise UserError(
            f"--co-assignment.clusters begins at {min(settings.clusters)}, and there are {len(a)} images; give "
            "twice as many images as clusters, or fewer clusters"
        )
    options = {name: getattr(settings, name) for name in ("pairs", "uniform_pairs", "normalised")}
    found = [
        co_assignment(a, b, clusters, settings.seed + repeat, **options) for repeat in progress(range(settings.repeats))
    ]
    return _findings(settings, names, clusters, found, _resampled(settings, found))


def _resampled(settings, found):
    """Exact shares (R, 2, G) of draws of the images, averaged over repeats: of B given A, and of A given B."""
    random = np.random.default_rng(settings.seed)
    images = found[0].labels_a.shape[1]
    drawn = []
    for _ in range(settings.resamples):
        weights = np.bincount(random.integers(0, images, images), minlength=images)
        shares = [
            [
                [
                    probability(*two, uniform=settings.uniform_pairs, weights=weights)
                    for two in zip(*labels, strict=True)
                ]
                for labels in ((one.labels_a, one.labels_b), (one.labels_b, one.labels_a))
            ]
            for one in found
        ]
        drawn.append(np.mean(shares, axis=0))
    return np.array(drawn)


def _findings(settings, names, clusters, found, drawn):
    from kerastransfer.report import figures
    from kerastransfer.report.page import Estimate, Figure, Table

    first, second = names
    # (repeats, G)
    exact = [np.stack([getattr(one, f"exact_{name}") for one in found]) for name in ("b_given_a", "a_given_b")]
    sampled = [np.stack([getattr(one, name) for one in found]) for name in ("b_given_a", "a_given_b")]
    random = [np.stack([getattr(one, f"distinct_{space}") for one in found]) for space in "ba"]
    means, chances = [one.mean(axis=0) for one in exact], [one.mean(axis=0) for one in random]
    labels = f"P({second} | {first})", f"P({first} | {second})"

    def estimate(over_repeats, resampled):
        """A number over repeats (repeats,), with its interval over draws (R,)."""
        spread = float(over_repeats.std(ddof=1)) if len(over_repeats) > 1 else None
        return Estimate(float(over_repeats.mean()), *map(float, ends(resampled)), spread)

    difference, again = exact[0] - exact[1], drawn[:, 0] - drawn[:, 1]
    # What is above chance, as a share of what could be, as in Cohen's kappa.
    corrected = [(one - level) / (1 - level) for one, level in zip(exact, random, strict=True)]
    rows = [
        (
            str(number),
            [
                estimate(exact[0][:, place], drawn[:, 0, place]),
                estimate(exact[1][:, place], drawn[:, 1, place]),
                estimate(difference[:, place], again[:, place]),
                *(float(one[place]) for one in chances),
                float((corrected[0] - corrected[1])[:, place].mean()),
            ],
        )
        for place, number in enumerate(clusters)
    ]
    columns = [*labels, "difference", *(f"chance of {label}" for label in labels), "difference above chance"]
    mean = estimate(difference.mean(axis=1), again.mean(axis=1))
    above = int((difference.mean(axis=0) > 0).sum())
    skipped = [number for number in settings.clusters if number not in clusters]
    numbers = {
        name: {
            **{f"pairs_shared_by_the_other/{k}": float(means[model][place]) for place, k in enumerate(clusters)},
            **{f"pairs_shared_by_chance/{k}": float(chances[model][place]) for place, k in enumerate(clusters)},
        }
        for model, name in enumerate(names)
    }
    chart = figures.lines(
        {
            labels[0]: (clusters, means[0], 1.96 * deviation(drawn[:, 0])),
            labels[1]: (clusters, means[1], 1.96 * deviation(drawn[:, 1])),
            f"chance of {labels[0]}": (clusters, chances[0], None),
            f"chance of {labels[1]}": (clusters, chances[1], None),
        },
        x="number of clusters",
        y="share of pairs",
        logarithmic=True,
    )
    images = found[0].labels_a.shape[1]
    return Findings(
        TITLE,
        text=[
            f"Both feature spaces of {images} images are clustered by k-means, {settings.repeats} times. {labels[0]} "
            f"is the share of the pairs in a cluster of {first} that are in a cluster of {second}, too. The shares are "
            f"exact, over all pairs; those of {settings.pairs:,} pairs drawn as in the paper differ from them by "
            f"{max(float(np.nanmax(np.abs(s - e))) for s, e in zip(sampled, exact, strict=True)):.4f} at most. The "
            "intervals are over draws of the images, with the clusters as they are; the number after ± is the standard "
            "deviation over the repeats.",
            f"{labels[0]} is above {labels[1]} for {above} of {len(clusters)} numbers of clusters. The more uneven the "
            "clusters of a space are, the more pairs share one, by chance alone; of pairs drawn uniformly the two "
            "shares differ exactly by the ratio of their chances (`uniform_pairs`). The last column is therefore the "
            "difference of (share - chance) / (1 - chance), which compares the spaces and not the sizes of clusters: "
            f"{float((corrected[0] - corrected[1]).mean()):+.3f} on average.",
            *([f"Left out, as there are not twice as many images: {', '.join(map(str, skipped))} clusters."]
              if skipped else []),
        ],
        numbers=numbers,
        tables=[Table(columns, rows, "Pairs that share a cluster", "clusters")],
        figures=[
            (
                "co_assignment",
                Figure(TITLE, "Shaded: 1.96 standard deviations over draws of the images. Chance is that of two "
                       "different images.", b"", chart=True),
                chart,
            )
        ],
        claims=[
            Claim(
                "Images that are alike to the detection model are alike to the classification model more often than "
                "the reverse.",
                f"{labels[0]} minus {labels[1]}, mean over {len(clusters)} numbers of clusters",
                mean,
            )
        ],
    )  # fmt: skip


def _checked(features_a, features_b, clusters):
    features = [np.asarray(one, np.float32) for one in (features_a, features_b)]
    a, b = features
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(f"got features {a.shape} and {b.shape}; give (N, D) and (N, E) of the same N images")
    for name, one in zip(("features_a", "features_b"), features, strict=True):
        if not np.isfinite(one).all():
            raise ValueError(f"{name} are not finite")
    wrong = [number for number in clusters if not 1 <= number <= len(a)]
    if wrong:
        raise ValueError(f"{wrong[0]} clusters of {len(a)} images; give 1 to {len(a)}")
    for name, one in zip(("features_a", "features_b"), features, strict=True):
        if len(one) > 1 and (one == one[0]).all():
            raise ValueError(f"{name} are the same for all {len(one)} images")
    return features


def _share(pairs, labels):
    if not len(pairs):
        return np.nan
    return float((labels[pairs[:, 0]] == labels[pairs[:, 1]]).mean())


def _distinct(share, images):
    """A sum of squared shares, of pairs of two different ones of so many images."""
    return (images * share - 1) / (images - 1) if images > 1 else np.nan

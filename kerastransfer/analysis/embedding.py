"""Feature spaces as maps in two dimensions: t-SNE (van der Maaten 2014), as in Li et al. 2019, and how well the
nearest images tell the class of an image, in the map and in the whole space."""

import dataclasses
from collections.abc import Callable

import numpy as np

from kerastransfer.analysis.findings import Findings
from kerastransfer.analysis.material import Features, pair
from kerastransfer.analysis.pooled_features import pooled
from kerastransfer.errors import UserError
from kerastransfer.flags import require_positive
from kerastransfer.metrics import bootstrap

TITLE = "Maps of the feature spaces"
NEEDS = Features
# Classes with a colour of their own in the legend.
NAMED = 20


@dataclasses.dataclass
class Settings:
    """Settings of the maps of feature spaces."""

    perplexity: float = 10.0
    """About how many neighbours of an image matter for its place; it must be below the number of images."""
    angle: float = 0.5
    """Accuracy of the Barnes-Hut approximation, 0 to 1: smaller is more exact and slower."""
    iterations: int = 1000
    """Number of steps of t-SNE, 250 or more."""
    components: int = 50
    """Number of principal components that features are reduced to first."""
    images: int = 2000
    """Largest number of images in a map; of more, as many are taken at equal distances in their order."""
    neighbours: int = 10
    """Number of nearest images that vote for the class of an image."""
    thumbnail: int = 40
    """Longer side of an image in the map of images, in pixels."""
    seed: int = 0
    """Seed of the map."""

    def __post_init__(self) -> None:
        require_positive(self, "perplexity", "components", "images", "neighbours", "thumbnail", prefix="embedding.")
        if self.iterations < 250:
            raise UserError(f"--embedding.iterations is {self.iterations}; t-SNE needs 250 or more")
        if not 0 <= self.angle <= 1:
            raise UserError(f"--embedding.angle is {self.angle}; give a number from 0 to 1")


def embed(
    features: np.ndarray,
    perplexity: float = 10.0,
    *,
    angle: float = 0.5,
    iterations: int = 1000,
    components: int = 50,
    seed: int = 0,
) -> np.ndarray:
    """Places (N, 2) float32 of images in a map by Barnes-Hut t-SNE of features (N, D). These are reduced to
    `components` principal components first, and begin at the first two. The same seed gives the same map.

    Raises ValueError for a perplexity that is not below N, and for features that are not finite.
    """
    import threadpoolctl
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    features = np.asarray(features, np.float32)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"got features {features.shape}; give finite ones (N, D)")
    if not 0 < perplexity < len(features):
        raise ValueError(f"a perplexity of {perplexity:g} for {len(features)} images; give one below their number")
    # With more threads sums are rounded in any order, and the map is another one each time.
    with threadpoolctl.threadpool_limits(1):
        components = min(components, *features.shape)
        reduced = PCA(components, random_state=seed).fit_transform(features)
        model = TSNE(
            perplexity=perplexity,
            angle=angle,
            max_iter=iterations,
            init="pca" if components > 1 else "random",
            random_state=seed,
        )
        return model.fit_transform(reduced)


def neighbour_accuracy(points: np.ndarray, labels: np.ndarray, neighbours: int = 10) -> np.ndarray:
    """Whether the vote of the nearest other images gives the label of each image, (N,): 1 or 0, and NaN for an image
    that is the only one of its class. points: (N, D). labels: (N,) in [0, K). If classes have as many votes, that of
    the nearest image counts."""
    import threadpoolctl
    from sklearn.neighbors import NearestNeighbors

    labels = np.asarray(labels)
    neighbours = min(neighbours, len(points) - 1)
    if neighbours < 1:
        return np.full(len(points), np.nan)
    # On a busy machine several threads wait for each other most of the time.
    with threadpoolctl.threadpool_limits(1):
        # Without an argument an image is no neighbour of itself, even if it has copies.
        _, found = NearestNeighbors(n_neighbors=neighbours).fit(points).kneighbors()
    votes = labels[found]
    # The nearest has a little more weight than all others together, and all of that together is less than a vote.
    weights = 1 + 0.5 ** np.arange(1, neighbours + 1)
    counted = np.zeros((len(points), int(labels.max(initial=0)) + 1))
    for place in range(neighbours):
        counted[np.arange(len(points)), votes[:, place]] += weights[place]
    alone = np.bincount(labels)[labels] < 2
    return np.where(alone, np.nan, (counted.argmax(axis=1) == labels).astype(np.float64))


def study(settings: Settings, material: Features, progress: Callable) -> Findings:
    """Maps of both models. Raises UserError for a perplexity that is too large and for useless features."""
    material = material.unseen
    names, images = pair(material.pooled), len(material.names)
    chosen = np.arange(images)
    if images > settings.images:
        chosen = np.linspace(0, images - 1, settings.images).round().astype(int)
    if settings.perplexity >= len(chosen):
        raise UserError(
            f"--embedding.perplexity is {settings.perplexity:g} and there are {len(chosen)} images; give a perplexity "
            f"below {len(chosen)}, or more images"
        )
    spaces = {name: values[chosen] for name, values in pooled(material).items()}
    options = {name: getattr(settings, name) for name in ("angle", "iterations", "components", "seed")}
    maps = {name: embed(spaces[name], settings.perplexity, **options) for name in progress(list(names))}
    return _findings(settings, material, names, chosen, spaces, maps)


def _findings(settings, material, names, chosen, spaces, maps):
    from kerastransfer.report import figures, pictures
    from kerastransfer.report.page import Estimate, Figure, Table

    taken = "" if len(chosen) == len(material.names) else f", taken at equal distances from {len(material.names):,}"
    text = [
        f"t-SNE of {len(chosen):,} images{taken}: perplexity {settings.perplexity:g}, {settings.iterations} "
        f"iterations, after a reduction to {settings.components} principal components. Only neighbourhoods mean "
        "something in such a map: neither the distances between groups nor their sizes do."
    ]
    labels, numbers, tables = None, {name: {} for name in names}, []
    if material.labels is not None:
        labels = np.asarray(material.labels)[chosen]
        rows = []
        for title, key, points in (("in the map", "map", maps), ("in the whole space", "space", spaces)):
            right = [neighbour_accuracy(points[name], labels, settings.neighbours) for name in names]
            means = [float(np.mean(one[~np.isnan(one)])) if not np.isnan(one).all() else np.nan for one in right]
            for name, mean in zip(names, means, strict=True):
                numbers[name][f"accuracy_neighbours_{key}"] = mean
            difference = Estimate(*bootstrap.paired_difference(*right, seed=settings.seed))
            rows.append((title, [*means, difference]))
        tables.append(Table([*names, "difference"], rows, "Accuracy of the vote of the nearest images", "nearest"))
        text.append(
            f"The {settings.neighbours} nearest images vote for the class of each image, which is left out itself. The "
            "intervals are over images."
        )
        alone = int((np.bincount(labels)[labels] < 2).sum())
        if alone:
            text.append(f"{alone} images are the only ones of their class and are not counted.")
    caption = "Each dot is an image" + (", in the colour of its class." if labels is not None else ".")
    chart = figures.maps(maps, labels, material.classes, named=NAMED)
    drawn = [
        (
            f"embedding_images_{number + 1}",
            Figure(f"The images in the map of {name}", "Where several would lie on each other, one of them is shown.",
                   b""),
            pictures.scattered(material.images, chosen, maps[name], thumbnail=settings.thumbnail),
        )
        for number, name in enumerate(names)
    ]  # fmt: skip
    return Findings(
        TITLE,
        text=text,
        numbers=numbers,
        tables=tables,
        figures=[("embedding", Figure(TITLE, caption, b"", chart=True), chart), *drawn],
    )

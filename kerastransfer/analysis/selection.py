"""Which photos to annotate next: spread over what an encoder sees in them, and where its probe is in doubt."""

import numpy as np


def chosen(
    features: np.ndarray, doubt: np.ndarray, count: int, *, annotated: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Row numbers (count,) of the photos to annotate next, in order, from pooled features (N, D) and doubt (N,) >= 0.

    The drawing of k-means++ (Arthur and Vassilvitskii 2007, section 2.2): each photo is drawn with a probability
    proportional to its doubt times the squared distance to the nearest photo that is annotated or chosen already.
    Photos that are much alike are thus seldom chosen together. Equal doubt leaves the spread alone. As in its
    "greedy" form, several are drawn at a time, and the one that leaves the rest the nearest is kept.

    annotated: features (M, D) of the photos that have a mask. Raises ValueError for other shapes, and for more than N.
    """
    features, doubt = np.asarray(features, np.float64), np.asarray(doubt, np.float64)
    if features.ndim != 2 or doubt.shape != features.shape[:1]:
        raise ValueError(f"got features {features.shape} and doubt {doubt.shape}; give (N, D) and (N,)")
    if not 0 <= count <= len(features):
        raise ValueError(f"{count} of {len(features)} photos; give {len(features)} at most")
    if not np.isfinite(doubt).all() or doubt.min(initial=0.0) < 0:
        raise ValueError("doubt is negative or not finite")
    known = np.zeros((0, features.shape[1])) if annotated is None else np.asarray(annotated, np.float64)
    everything = np.concatenate([features, known])
    mean, deviation = everything.mean(axis=0), everything.std(axis=0)
    features, known = ((values - mean) / np.where(deviation > 0, deviation, 1.0) for values in (features, known))
    random = np.random.default_rng(seed)
    nearest = np.full(len(features), np.inf)
    for one in known:
        nearest = np.minimum(nearest, _squares(features, one))
    free, found = np.ones(len(features), bool), []
    for _ in range(count):
        # Without any photo to be far from, doubt alone decides.
        weight = np.where(free, doubt * np.where(np.isinf(nearest), 1.0, nearest), 0.0)
        # Of copies of what is known, or where no photo is in doubt, any serves.
        weight = weight if weight.sum() > 0 else free.astype(float)
        several = random.choice(len(features), size=_trials(count), p=weight / weight.sum())
        left = [(doubt * np.minimum(nearest, _squares(features, features[one])))[free].sum() for one in several]
        best = several[int(np.argmin(left))]
        found.append(best)
        free[best] = False
        nearest = np.minimum(nearest, _squares(features, features[best]))
    return np.array(found, int)


def _trials(count):
    """Drawn at a time, as scikit-learn's k-means++ does."""
    return 2 + int(np.log(max(count, 1)))


def _squares(features, one):
    return ((features - one) ** 2).sum(axis=1)

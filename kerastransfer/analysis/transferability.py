"""How well a linear model would tell the classes apart from features, estimated without training one."""

import numpy as np

# A singular value below this share of the largest is rounding.
SMALLEST = 1e-7
# In relative precision of alpha / beta; it is reached in about ten steps.
PRECISION, MOST_STEPS = 1e-6, 200


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """LogME (You et al. 2021, section 4): the largest log evidence of Bayesian linear regression from features (N, D)
    to each class against the rest, per sample, averaged over the classes in labels (N,). Higher is better.

    The evidence is maximised over the precisions of prior and noise by a fixed-point iteration (algorithm 3). A
    rotation of the features changes nothing, nor does their common scale. There is no intercept, as in the paper:
    append a column of ones for one.
    Raises ValueError for other shapes, and for labels of a single class.
    """
    features, labels = _checked(features, labels)
    left, squares = _spectrum(features)
    targets = (labels[:, None] == np.unique(labels)).astype(np.float64)
    return float(np.mean([_evidence(left, squares, target, features.shape[1]) for target in targets.T]) / len(labels))


def h_score(features: np.ndarray, labels: np.ndarray, *, shrinkage: bool = False) -> float:
    """H-score (Bao et al. 2019): the trace of inv(cov(f)) cov(E[f | y]), from features (N, D) and labels
    (N,). It is between 0 and the number of classes minus 1, and higher is better.

    shrinkage: estimate cov(f) as Ledoit and Wolf 2004 do, and shrink cov(E[f | y]) by the same factor (Ibrahim et al.
        2021). Without it the score of many features approaches its maximum, whatever they are: it needs
        far more samples than features.
    Raises ValueError as `logme` does.
    """
    features, labels = _checked(features, labels)
    features = features - features.mean(axis=0)
    left, squares = _spectrum(features)
    # Both covariances are diagonal or thin in the basis of the singular vectors, so no (D, D) matrix is inverted.
    explained = sum((labels == one).sum() * left[labels == one].mean(axis=0) ** 2 for one in np.unique(labels))
    if not shrinkage:
        return float(explained.sum())
    from sklearn.covariance import ledoit_wolf_shrinkage

    factor = ledoit_wolf_shrinkage(features, assume_centered=True)
    kept = (1 - factor) * squares
    average = squares.sum() / features.shape[1]
    return float(explained @ (kept / np.maximum(kept + factor * average, np.finfo(float).tiny)))


def _checked(features, labels):
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"got features {features.shape} and labels {labels.shape}; give (N, D) and (N,)")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"{len(labels)} labels of a single class; a score needs two classes or more")
    return features, labels


def _spectrum(features):
    """Left singular vectors (N, R) and squares of the singular values (R,) that are not 0, by way of the smaller of the
    two Gram matrices."""
    wide = features.shape[0] <= features.shape[1]
    squares, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
    there = squares > SMALLEST**2 * squares.max(initial=0.0) * max(features.shape)
    squares, vectors = squares[there], vectors[:, there]
    return (vectors if wide else features @ vectors / np.sqrt(squares)), squares


def _evidence(left, squares, target, number):
    """The largest log evidence of one target (N,), with `number` features."""
    tiny = np.finfo(float).tiny
    samples = len(target)
    projected = (left.T @ target) ** 2
    beyond = max(target @ target - projected.sum(), 0.0)

    def maximised(ratio):
        """alpha, beta, |m|^2 and the squared error at a ratio alpha / beta."""
        known = (squares / (squares + ratio)).sum()
        length = (squares * projected / (squares + ratio) ** 2).sum()
        error = (projected * (ratio / (squares + ratio)) ** 2).sum() + beyond
        return known / max(length, tiny), (samples - known) / max(error, tiny), length, error

    # Scaled features have the same evidence, so the first guess is in their units.
    ratio = squares.mean() if len(squares) else 1.0
    for _ in range(MOST_STEPS):
        alpha, beta, length, error = maximised(ratio)
        before, ratio = ratio, alpha / beta
        if abs(ratio - before) <= PRECISION * before:
            break
    unseen = (number - len(squares)) * np.log(alpha)
    return 0.5 * (
        number * np.log(alpha)
        + samples * np.log(beta)
        - np.log(alpha + beta * squares).sum()
        - unseen
        - beta * error
        - alpha * length
        - samples * np.log(2 * np.pi)
    )

"""LogME against scikit-learn's Bayesian regression, the H-score against its definition, and what leaves both alone."""

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

from kerastransfer.analysis.transferability import h_score, logme


def drawn(samples=120, features=8, classes=3, apart=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(samples) % classes
    return apart * random.normal(size=(classes, features))[labels] + random.normal(size=(samples, features)), labels


@pytest.mark.parametrize("features", [5, 40])
def test_the_evidence_is_that_of_bayesian_ridge(features):
    x, labels = drawn(features=features)
    x = x * np.linspace(0.1, 5, features)
    flat = {"alpha_1": 0, "alpha_2": 0, "lambda_1": 0, "lambda_2": 0}
    wanted = []
    for one in range(3):
        model = BayesianRidge(max_iter=5000, tol=1e-12, compute_score=True, fit_intercept=False, **flat)
        wanted.append(model.fit(x, labels == one).scores_[-1] / len(x))
    assert logme(x, labels) == pytest.approx(np.mean(wanted), abs=1e-5)


def test_more_features_than_samples():
    x, labels = drawn(samples=30, features=50)
    flat = {"alpha_1": 0, "alpha_2": 0, "lambda_1": 0, "lambda_2": 0}
    noisy = np.random.default_rng(0).permutation(labels)
    model = BayesianRidge(max_iter=5000, tol=1e-12, compute_score=True, fit_intercept=False, **flat)
    wanted = [model.fit(x, noisy == one).scores_[-1] / len(x) for one in range(3)]
    assert np.isfinite(logme(x, noisy))
    assert logme(x, noisy) >= np.mean(wanted) - 0.02


def test_the_h_score_is_its_definition():
    x, labels = drawn()
    means = np.stack([x[labels == one].mean(axis=0) for one in labels])
    wanted = np.trace(np.linalg.inv(np.cov(x, rowvar=False)) @ np.cov(means, rowvar=False))
    assert h_score(x, labels) == pytest.approx(wanted, abs=1e-9)


def test_the_shrunk_h_score_is_its_definition():
    from sklearn.covariance import LedoitWolf

    x, labels = drawn(samples=40, features=60)
    fitted = LedoitWolf().fit(x)
    means = np.stack([x[labels == one].mean(axis=0) for one in labels])
    between = (1 - fitted.shrinkage_) * np.cov(means, rowvar=False, bias=True)
    wanted = np.trace(np.linalg.inv(fitted.covariance_) @ between)
    assert h_score(x, labels, shrinkage=True) == pytest.approx(wanted, abs=1e-9)


def test_a_rotation_and_a_common_scale_change_nothing():
    x, labels = drawn()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    for score in (logme, h_score, lambda *given: h_score(*given, shrinkage=True)):
        assert score(x @ rotation * 7, labels) == pytest.approx(score(x, labels), abs=1e-6)
        assert score(x, 5 - labels) == pytest.approx(score(x, labels), abs=1e-9)


def test_any_linear_map_leaves_the_h_score_alone():
    x, labels = drawn()
    assert h_score(x @ np.random.default_rng(1).normal(size=(8, 8)) + 3, labels) == pytest.approx(h_score(x, labels))


def test_the_h_score_of_separate_classes_is_their_number_less_one():
    labels = np.arange(90) % 3
    x = np.eye(3)[labels] + 1e-4 * np.random.default_rng(0).normal(size=(90, 3))
    assert h_score(x, labels) == pytest.approx(2, abs=1e-3)


def test_without_shrinkage_enough_features_explain_anything():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(60, 400)), np.arange(60) % 2
    assert h_score(x, labels) > 0.99
    assert h_score(x, labels, shrinkage=True) < 0.2


@pytest.mark.parametrize("shrinkage", [False, True])
def test_noise_in_the_labels_lowers_all(shrinkage):
    x, labels = drawn(samples=400, classes=2, apart=1.5)
    random, scores = np.random.default_rng(3), []
    for share in (0.0, 0.1, 0.25, 0.5):
        wrong = random.random(len(labels)) < share
        noisy = np.where(wrong, 1 - labels, labels)
        scores.append((logme(x, noisy), h_score(x, noisy, shrinkage=shrinkage)))
    for one in zip(*scores, strict=True):
        assert sorted(one, reverse=True) == list(one)


def test_closer_classes_score_lower():
    scores = [(logme(*one), h_score(*one)) for one in (drawn(apart=apart) for apart in (2.0, 1.0, 0.5, 0.1))]
    for one in zip(*scores, strict=True):
        assert sorted(one, reverse=True) == list(one)


@pytest.mark.parametrize("score", [logme, h_score])
def test_what_has_no_score_is_refused(score):
    x, labels = drawn()
    with pytest.raises(ValueError, match="single class"):
        score(x, np.zeros(len(x)))
    with pytest.raises(ValueError, match=r"give \(N, D\) and \(N,\)"):
        score(x, labels[:-1])
    with pytest.raises(ValueError, match=r"give \(N, D\) and \(N,\)"):
        score(x[0], labels)


def test_features_that_are_all_equal_say_nothing():
    labels = np.arange(40) % 2
    assert h_score(np.ones((40, 5)), labels) == 0
    assert np.isfinite(logme(np.ones((40, 5)), labels))

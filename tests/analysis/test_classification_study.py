"""The comparison of two classifiers."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from kerastransfer.analysis import classification
from kerastransfer.analysis.material import Classified
from kerastransfer.errors import UserError


def material(strengths=(1.0, 2.0), images=300, classes=8, seed=0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, images)
    noise = random.normal(size=(images, classes))
    found = {}
    for name, strength in zip(("detection", "classification"), strengths, strict=True):
        logits = strength * np.eye(classes)[truth] + noise + 0.5 * random.normal(size=noise.shape)
        found[name] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [str(number) for number in range(images)]
    return Classified(names, [f"class {k}" for k in range(classes)], truth, found)


def test_accuracy_is_that_of_scikit_learn():
    given = material()
    findings = classification.study(classification.Settings(), given, iter)
    for name, probabilities in given.found.items():
        for top in (1, 5):
            expected = metrics.top_k_accuracy_score(given.truth, probabilities, k=top)
            assert findings.numbers[name][f"accuracy_top{top}"] == pytest.approx(expected)
            assert classification.right(given.truth, probabilities, top).mean() == pytest.approx(expected)
        of_class = given.truth == 3
        assert findings.numbers[name]["accuracy/class 3"] == (probabilities.argmax(axis=1) == 3)[of_class].mean()


def test_few_classes_have_no_top_5():
    findings = classification.study(classification.Settings(), material(classes=5), iter)
    assert "accuracy_top5" not in findings.numbers["detection"]
    assert [name for name, _ in findings.tables[0].rows] == ["top-1"]


def test_the_claim_is_that_the_second_is_better():
    (claim,) = classification.study(classification.Settings(), material((1.0, 2.0)), iter).claims
    assert claim.held is True and claim.difference.value > 0.05
    (claim,) = classification.study(classification.Settings(), material((2.0, 1.0)), iter).claims
    assert claim.held is False
    (claim,) = classification.study(classification.Settings(), material((2.0, 2.0)), iter).claims
    assert claim.held is None


def test_images_that_one_model_alone_gets_right():
    """By hand: of six images both get two right, the first one more, the second two more, and one neither."""
    truth = np.zeros(6, int)
    good, bad = [0.9, 0.1], [0.2, 0.8]
    found = {
        "detection": np.array([good, good, good, bad, bad, bad]),
        "classification": np.array([good, good, bad, good, good, bad]),
    }
    findings = classification.study(
        classification.Settings(), Classified([*"abcdef"], ["one", "other"], truth, found), iter
    )
    assert findings.tables[1].rows == [("detection right", [2, 1]), ("detection wrong", [2, 1])]
    assert "1 images are classified rightly by detection alone and 2 by classification alone" in findings.text[0]
    # The exact test is a fair coin's: 1 of 3 heads or less, on both sides.
    assert f"p = {2 * stats.binom.cdf(1, 3, 0.5):.2g}" in findings.text[0]


def test_equal_models_do_not_differ():
    given = material()
    same = Classified(
        given.names, given.classes, given.truth, {"a": given.found["detection"], "b": given.found["detection"]}
    )
    findings = classification.study(classification.Settings(), same, iter)
    assert "p = 1" in findings.text[0]
    difference = findings.claims[0].difference
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_probabilities_that_are_not_finite_name_the_model():
    given = material()
    given.found["classification"][4:6, 1] = np.nan
    with pytest.raises(UserError, match="probabilities of classification are not finite for 2 of 300 images"):
        classification.study(classification.Settings(), given, iter)

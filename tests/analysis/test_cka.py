"""CKA: the numbers of its authors' demonstration, closed forms, and invariances."""

import numpy as np
import pytest

from kerastransfer.analysis.cka import KINDS, cka, over_batches


def drawn(images=60, one=12, other=9, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(images, one))
    return x, x[:, :other] @ random.normal(size=(other, other)) + random.normal(size=(images, other))


@pytest.mark.parametrize(("kind", "wanted"), [("linear", 0.55761), ("debiased", 0.51346), ("rbf", 0.65483)])
def test_numbers_of_the_authors(kind, wanted):
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    y = random.randn(100, 10) + x
    assert cka(x, y, kind) == pytest.approx(wanted, abs=5e-6)


def test_the_linear_one_is_that_of_the_features():
    x, y = drawn()
    x, y = x - x.mean(0), y - y.mean(0)
    norm = np.linalg.norm
    assert cka(x, y) == pytest.approx(norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y)), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_rotation_scale_and_offset_change_nothing(kind):
    x, y = drawn()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))
    assert cka(x @ rotation * 7 + 3, y, kind) == pytest.approx(cka(x, y, kind), abs=1e-9)
    assert cka(x, x @ rotation * 0.1, kind) == pytest.approx(1, abs=1e-9)
    assert cka(x, y, kind) == pytest.approx(cka(y, x, kind), abs=1e-12)


def test_many_features_of_few_images_look_alike_unless_the_bias_is_removed():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(100, 5000)), random.normal(size=(100, 5000))
    assert cka(x, y) > 0.9
    assert abs(cka(x, y, "debiased")) < 0.05


def test_one_batch_is_the_debiased_one():
    x, y = drawn()
    found = over_batches([{"x": x, "y": y.reshape(60, 3, 3)}])
    assert found["x", "y"] == found["y", "x"] == pytest.approx(cka(x, y, "debiased"), abs=1e-12)
    assert found["x", "x"] == pytest.approx(1)


def test_many_batches_estimate_that_of_all_images():
    x, y = drawn(2000)
    found = over_batches({"x": x[start : start + 20], "y": y[start : start + 20]} for start in range(0, 2000, 20))
    assert found["x", "y"] == pytest.approx(cka(x, y, "debiased"), abs=0.02)


def test_equal_images_have_nothing_in_common_with_others():
    x, _ = drawn()
    for kind in KINDS:
        assert np.isfinite(cka(np.ones((60, 3)), x, kind))
    assert cka(np.ones((60, 3)), x) == 0


@pytest.mark.parametrize(
    ("x", "y", "kind", "message"),
    [
        (np.ones((5, 2)), np.ones((6, 2)), "linear", "the same n images"),
        (np.ones((5, 2, 2)), np.ones((5, 2)), "linear", "the same n images"),
        (np.ones((3, 2)), np.ones((3, 2)), "debiased", "needs 4 or more"),
        (np.ones((1, 2)), np.ones((1, 2)), "rbf", "needs 2 or more"),
        (np.ones((5, 2)), np.ones((5, 2)), "cosine", "choose from"),
        (np.ones((5, 2)), np.full((5, 2), np.nan), "linear", "the features y are not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(x, y, kind, message):
    with pytest.raises(ValueError, match=message):
        cka(x, y, kind)
    with pytest.raises(ValueError, match="at least one batch"):
        over_batches([])
    x = np.ones((5, 2))
    with pytest.raises(ValueError, match="the features second are not finite"):
        over_batches([{"first": x, "second": x * np.inf}])
    with pytest.raises(ValueError, match=r"a batch of \['a', 'c'\] after one of \['a', 'b'\]"):
        over_batches([{"a": x, "b": x}, {"a": x, "c": x}])

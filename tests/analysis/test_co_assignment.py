"""Pairs that share a cluster: closed forms, drawn pairs against exact probabilities, and what the claim rests on."""

import dataclasses

import numpy as np
import pytest

from kerastransfer.analysis import co_assignment as module
from kerastransfer.analysis.co_assignment import chance, co_assignment, drawn_pairs, probability
from kerastransfer.analysis.material import Features
from kerastransfer.errors import UserError


def groups(labels, spread=0.01, seed=0, features=4):
    """Features (N, D) in far groups, one for each label."""
    random = np.random.default_rng(seed)
    centres = random.permutation(np.eye(int(max(labels)) + 1) * 100)
    return centres[labels] + spread * random.normal(size=(len(labels), centres.shape[1]))


def from_the_table(given, wanted, uniform):
    """The probability from the contingency table, cluster by cluster."""
    table = np.zeros((given.max() + 1, wanted.max() + 1))
    np.add.at(table, (given, wanted), 1)
    sizes = table.sum(axis=1)
    if uniform:
        return (table * (table - 1)).sum() / (sizes * (sizes - 1)).sum()
    several = sizes > 1
    inside = (table * (table - 1)).sum(axis=1)[several] / (sizes - 1)[several]
    return inside.sum() / sizes[several].sum()


def test_identical_spaces_share_all_pairs():
    features = np.random.default_rng(0).normal(size=(300, 6))
    found = co_assignment(features, features, [2, 7, 40, 150], pairs=2000)
    for name in ("b_given_a", "a_given_b", "exact_b_given_a", "exact_a_given_b"):
        np.testing.assert_array_equal(getattr(found, name), 1.0)
    np.testing.assert_array_equal(found.labels_a, found.labels_b)
    np.testing.assert_array_equal(found.clusters, [2, 7, 40, 150])


@pytest.mark.parametrize("uniform", [False, True])
def test_independent_spaces_share_pairs_by_chance(uniform):
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], [240, 120, 80, 40])
    a, b = groups(labels), groups(random.permutation(labels), seed=1)
    found = co_assignment(a, b, [4], pairs=20_000, uniform_pairs=uniform)
    expected = 0.5**2 + 0.25**2 + (1 / 6) ** 2 + (1 / 12) ** 2
    assert found.chance_a[0] == found.chance_b[0] == pytest.approx(expected)
    assert found.distinct_b[0] == pytest.approx((240 * 239 + 120 * 119 + 80 * 79 + 40 * 39) / (480 * 479))
    # The draw of pairs, and the one permutation of so many images.
    sigma = np.hypot(np.sqrt(expected * (1 - expected) / 20_000), 0.005)
    assert found.b_given_a[0] == pytest.approx(expected, abs=3 * sigma)
    assert found.a_given_b[0] == pytest.approx(expected, abs=3 * sigma)


def test_over_all_permutations_the_share_is_chance_of_distinct_images():
    random = np.random.default_rng(0)
    a, b = np.repeat([0, 1, 2], [5, 3, 2]), np.repeat([0, 1, 2, 3], [4, 3, 2, 1])
    for uniform in (False, True):
        shares = [probability(a, random.permutation(b), uniform=uniform) for _ in range(2000)]
        wanted = (10 * chance(b) - 1) / 9
        assert np.mean(shares) == pytest.approx(wanted, abs=4 * np.std(shares) / np.sqrt(2000))
        assert wanted == pytest.approx((4 * 3 + 3 * 2 + 2) / 90)


def test_nested_clusters_are_asymmetric():
    """Eight groups, which the other space joins to two: pairs of the small clusters all share a large one, and of the
    pairs of a large one about a quarter share a small one."""
    fine = np.repeat(np.arange(8), 25)
    small, large = module.clustered(groups(fine), 8), module.clustered(groups(fine // 4), 2)
    assert probability(small, large) == 1.0
    assert probability(large, small) == pytest.approx(24 / 99)
    random = np.random.default_rng(0)
    pairs = drawn_pairs(small, 5000, random)
    assert (large[pairs[:, 0]] == large[pairs[:, 1]]).all()


@pytest.mark.parametrize("uniform", [False, True])
def test_drawn_pairs_have_the_exact_probability(uniform):
    random = np.random.default_rng(1)
    given, wanted = np.minimum(random.geometric(0.3, (2, 400)) - 1, 9)
    wanted = np.where(random.random(400) < 0.3, given, wanted)
    exact = from_the_table(given, wanted, uniform)
    assert probability(given, wanted, uniform=uniform) == pytest.approx(exact, abs=1e-12)
    pairs = drawn_pairs(given, 100_000, random, uniform=uniform)
    assert pairs.shape == (100_000, 2)
    assert (given[pairs[:, 0]] == given[pairs[:, 1]]).all() and (pairs[:, 0] != pairs[:, 1]).all()
    share = (wanted[pairs[:, 0]] == wanted[pairs[:, 1]]).mean()
    assert share == pytest.approx(exact, abs=3 * np.sqrt(exact * (1 - exact) / 100_000))


def test_both_ways_of_drawing_differ_in_how_often_a_cluster_is_drawn():
    """Clusters of 30, 10 and 1: by images 3/4 and 1/4; by pairs 870 to 90; the single image never."""
    labels = np.repeat([0, 1, 2], [30, 10, 1])
    random = np.random.default_rng(0)
    for uniform, expected in ((False, 0.75), (True, 870 / 960)):
        pairs = drawn_pairs(labels, 400_000, random, uniform=uniform)
        assert (labels[pairs] < 2).all()
        assert (labels[pairs[:, 0]] == 0).mean() == pytest.approx(expected, abs=0.01)
        # Every other image of the cluster is as likely.
        counted = np.bincount(pairs[pairs[:, 0] == 0, 1], minlength=41)[:30]
        assert counted[0] == 0 and counted[1:].min() > 0.8 * counted[1:].mean()


def test_of_uniform_pairs_the_shares_are_in_the_ratio_of_their_chances():
    random = np.random.default_rng(2)
    a, b = random.integers(0, 3, 200), random.integers(0, 12, 200)
    chances = [(200 * chance(one) - 1) / 199 for one in (a, b)]
    both = probability(a, b, uniform=True), probability(b, a, uniform=True)
    assert both[0] / both[1] == pytest.approx(chances[1] / chances[0])


def test_weights_are_copies_that_are_no_pair():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 3, 30), random.integers(0, 4, 30)
    weights = random.integers(0, 4, 30)
    images = np.repeat(np.arange(30), weights)
    for uniform in (False, True):
        shares, levels = [], []
        for one in range(len(images)):
            others = (images != images[one]) & (a[images] == a[images[one]])
            if others.any():
                shares.append((b[images] == b[images[one]])[others].mean())
                levels.append(others.sum())
        expected = np.average(shares, weights=levels if uniform else None)
        assert probability(a, b, uniform=uniform, weights=weights) == pytest.approx(expected)


def test_clusters_of_single_images_have_no_pairs():
    labels = np.arange(5)
    assert np.isnan(probability(labels, np.zeros(5, int)))
    assert len(drawn_pairs(labels, 10, np.random.default_rng(0))) == 0
    found = co_assignment(np.arange(10.0).reshape(5, 2), np.arange(5.0)[:, None], [5, 1], pairs=10)
    assert np.isnan(found.b_given_a[0]) and found.exact_b_given_a[1] == 1


def test_a_scale_of_images_matters_only_if_they_are_not_normalised():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 30)
    a = groups(labels)
    scaled = a * random.uniform(0.1, 30, len(a))[:, None]
    assert co_assignment(a, scaled, [4], pairs=10, normalised=True).exact_b_given_a[0] == 1
    assert co_assignment(a, scaled, [4], pairs=10).exact_b_given_a[0] < 0.9


def test_many_images_are_clustered_some_at_a_time(monkeypatch):
    labels = np.repeat(np.arange(5), 60)
    monkeypatch.setattr(module, "MOST_AT_ONCE", 100)
    found = module.clustered(groups(labels).astype(np.float32), 5)
    assert probability(found, labels) == probability(labels, found) == 1


def test_one_number_of_clusters_is_a_list_of_one():
    features = np.random.default_rng(0).normal(size=(20, 3))
    one, several = co_assignment(features, features**2, 4), co_assignment(features, features**2, [4])
    np.testing.assert_array_equal(one.b_given_a, several.b_given_a)


@pytest.mark.parametrize(
    ("a", "b", "clusters", "message"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), [2], "of the same N images"),
        (np.ones(3), np.ones(3), [2], "of the same N images"),
        (np.ones((3, 2)), np.full((3, 2), np.nan), [2], "features_b are not finite"),
        (np.ones((3, 2)), np.ones((3, 2)), [2, 4], "4 clusters of 3 images; give 1 to 3"),
        (np.ones((3, 2)), np.ones((3, 2)), [0], "0 clusters of 3 images"),
        (np.eye(3), np.ones((3, 2)), 2, "features_b are the same for all 3 images"),
    ],
)
def test_what_cannot_be_clustered_is_refused(a, b, clusters, message):
    with pytest.raises(ValueError, match=message):
        co_assignment(a, b, clusters)


def material(detection, classification):
    images = len(detection)
    return Features(
        names=[str(number) for number in range(images)],
        images=np.zeros((images, 8, 8, 3), np.uint8),
        maps={},
        pooled={"detection": detection.astype(np.float32), "classification": classification.astype(np.float32)},
        heads={},
        encoders={},
        labels=None,
        classes=(),
        train=np.zeros(images, bool),
        boxes=None,
        mean=np.zeros(3),
    )


FEW = module.Settings(clusters=(2, 4, 8, 100), pairs=2000, repeats=2, resamples=60)


def test_the_claim_is_about_nested_groups():
    """The detection model sees 8 groups of one size, most of which are in a single one of the 8 groups of the other."""
    fine = np.repeat(np.arange(8), 20)
    coarse = np.where(np.arange(160) < 125, 0, 1 + (np.arange(160) - 125) // 5)
    settings = dataclasses.replace(FEW, clusters=(8, 4, 100))
    findings = module.study(settings, material(groups(fine), groups(coarse)), iter)
    (claim,) = findings.claims
    assert claim.held is True
    assert findings.numbers["detection"].keys() == {
        f"pairs_shared_by_{what}/{k}" for what in ("the_other", "chance") for k in (4, 8)
    }
    assert findings.numbers["detection"]["pairs_shared_by_the_other/8"] == probability(fine, coarse)
    assert findings.numbers["classification"]["pairs_shared_by_the_other/8"] == probability(coarse, fine)
    swapped = module.study(settings, material(groups(coarse), groups(fine)), iter)
    assert swapped.claims[0].held is False
    assert swapped.claims[0].difference.value == pytest.approx(-claim.difference.value, abs=0.1)
    assert "Left out, as there are not twice as many images: 100 clusters." in findings.text
    assert [name for name, _ in findings.tables[0].rows] == ["4", "8"]
    cells = findings.tables[0].rows[1][1]
    assert cells[2].value == pytest.approx(cells[0].value - cells[1].value)
    assert cells[2].low <= cells[2].value <= cells[2].high


def test_equal_spaces_do_not_hold_the_claim():
    features = np.random.default_rng(0).normal(size=(60, 5))
    (claim,) = module.study(FEW, material(features, features), iter).claims
    assert claim.held is False and claim.difference.value == 0


def test_the_study_repeats():
    random = np.random.default_rng(0)
    given = material(*random.normal(size=(2, 50, 5)))
    assert module.study(FEW, given, iter).tables == module.study(FEW, given, iter).tables


def test_too_few_images_and_useless_features_are_refused():
    random = np.random.default_rng(0)
    some = random.normal(size=(3, 4))
    with pytest.raises(UserError, match=r"--co-assignment\.clusters begins at 2, and there are 3 images; give twice"):
        module.study(FEW, material(some, some), iter)
    some = random.normal(size=(30, 4))
    with pytest.raises(UserError, match="features of classification are the same for all 30 images"):
        module.study(FEW, material(some, np.ones((30, 4))), iter)
    broken = some.copy()
    broken[3, 1] = np.inf
    with pytest.raises(UserError, match="features of detection are not finite for 1 of 30 images"):
        module.study(FEW, material(broken, some), iter)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clusters": (1, 5)}, r"--co-assignment\.clusters is 1 5; give numbers of clusters from 2"),
        ({"clusters": ()}, r"--co-assignment\.clusters is empty"),
        ({"pairs": 0}, r"--co-assignment\.pairs is 0"),
    ],
)
def test_settings_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        module.Settings(**values)

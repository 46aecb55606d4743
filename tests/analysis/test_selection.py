"""The choice of photos to annotate next."""

import numpy as np
import pytest

from kerastransfer.analysis.selection import chosen


def clusters(of_each=(40, 40, 40, 5), features=6, seed=0):
    """Pooled features (N, D) of photos in far clusters, and the cluster (N,) of each."""
    random = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(of_each)), of_each)
    return 30 * random.normal(size=(len(of_each), features))[which] + 0.1 * random.normal(
        size=(len(which), features)
    ), which


@pytest.mark.parametrize("count", [1, 7, 125])
def test_photos_are_distinct(count):
    features, _ = clusters()
    rows = chosen(features, np.ones(125), count)
    assert len(set(rows.tolist())) == count == len(rows)


@pytest.mark.parametrize("seed", range(5))
def test_each_cluster_is_seen_first_however_small(seed):
    features, which = clusters()
    assert set(which[chosen(features, np.ones(125), 4, seed=seed)]) == {0, 1, 2, 3}


def test_clusters_that_are_annotated_come_last():
    features, which = clusters()
    known = features[np.isin(which, [0, 2])][:60]
    assert set(which[chosen(features, np.ones(125), 2, annotated=known)]) == {1, 3}


def test_of_photos_that_are_as_far_the_doubted_are_chosen():
    features = np.random.default_rng(0).normal(size=(200, 3))
    doubt = np.where(np.arange(200) < 50, 0.9, 0.01)
    rows = chosen(features, doubt, 20)
    assert (rows < 50).mean() > 0.8


def test_equal_doubt_is_plain_spread():
    features, _ = clusters()
    for doubt in (0.1, 0.7):
        assert (chosen(features, np.full(125, doubt), 9) == chosen(features, np.ones(125), 9)).all()


def test_the_spread_covers_better_than_chance():
    features = np.random.default_rng(0).normal(size=(300, 4)) ** 3
    features /= features.std(axis=0)

    def farthest(rows):
        return ((features[:, None] - features[rows]) ** 2).sum(-1).min(1).mean()

    random = [np.random.default_rng(seed).permutation(300)[:10] for seed in range(10)]
    ours = [chosen(features, np.ones(300), 10, seed=seed) for seed in range(10)]
    assert np.mean([farthest(rows) for rows in ours]) < np.mean([farthest(rows) for rows in random])


def test_copies_and_photos_without_doubt_are_chosen_only_when_nothing_else_is_left():
    features = np.concatenate([np.zeros((5, 2)), np.ones((1, 2))])
    rows = chosen(features, np.ones(6), 2, annotated=np.zeros((1, 2)))
    assert rows[0] == 5 and rows[1] < 5
    assert sorted(chosen(features, np.zeros(6), 6).tolist()) == [0, 1, 2, 3, 4, 5]


def test_the_same_seed_chooses_the_same():
    features, _ = clusters()
    assert (chosen(features, np.ones(125), 9, seed=4) == chosen(features, np.ones(125), 9, seed=4)).all()


@pytest.mark.parametrize(
    ("features", "doubt", "count", "message"),
    [
        (np.ones((3, 2)), np.ones(2), 1, r"give \(N, D\) and \(N,\)"),
        (np.ones(3), np.ones(3), 1, r"give \(N, D\) and \(N,\)"),
        (np.ones((3, 2)), np.ones(3), 4, "give 3 at most"),
        (np.ones((3, 2)), -np.ones(3), 1, "negative"),
        (np.ones((3, 2)), np.full(3, np.nan), 1, "not finite"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(features, doubt, count, message):
    with pytest.raises(ValueError, match=message):
        chosen(features, doubt, count)

"""Nearest pairs against SciPy's distances, and pairs that are close in one space and distant in another."""

import numpy as np
import pytest
from scipy.spatial import distance

from kerastransfer.analysis import nearest
from kerastransfer.analysis.material import Features
from kerastransfer.analysis.nearest import apart_by_clusters, apart_by_rank, nearest_pairs
from kerastransfer.errors import UserError

METRICS = ("euclidean", "dot", "cosine", "correlation")


def similarities(features, metric):
    """(N, N), by SciPy; the inner product by hand."""
    if metric == "dot":
        return np.array([[float(np.dot(one, other)) for other in features] for one in features])
    found = distance.squareform(distance.pdist(features, metric))
    return -found if metric == "euclidean" else 1 - found


def drawn(images=60, features=9, seed=0):
    return np.random.default_rng(seed).normal(1, 1, (images, features)) ** 2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block", [7, 512])
def test_the_nearest_pairs_are_those_of_scipy(monkeypatch, metric, block):
    monkeypatch.setattr(nearest, "BLOCK", block)
    features = drawn()
    all_of_them = similarities(features, metric)
    rows, columns = np.triu_indices(60, 1)
    order = np.argsort(-all_of_them[rows, columns], kind="stable")[:25]
    found = nearest_pairs(features, 25, metric)
    np.testing.assert_array_equal(found.images, np.stack([rows, columns], axis=1)[order])
    np.testing.assert_allclose(found.similarity, all_of_them[rows, columns][order], rtol=1e-9, atol=1e-9)


def test_there_are_no_more_pairs_than_there_are():
    found = nearest_pairs(drawn(4), 100)
    assert sorted(map(tuple, found.images)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert len(nearest_pairs(drawn(1), 5)) == 0


@pytest.mark.parametrize("metric", METRICS)
def test_copies_can_be_left_out(metric):
    features = drawn(20)
    features[17] = features[3]
    features[11] = features[5] * (1 + 1e-9)
    assert {(3, 17), (5, 11)} <= set(map(tuple, nearest_pairs(features, 200, metric).images))
    kept = nearest_pairs(features, 200, metric, copies=False)
    assert len(kept) == 188 and not {(3, 17), (5, 11)} & set(map(tuple, kept.images))
    if metric == "euclidean":
        assert [*map(tuple, nearest_pairs(features, 2, metric).images)] == [(3, 17), (5, 11)]
        assert nearest_pairs(features, 2, metric).similarity[0] == 0


def test_of_equal_pairs_the_first_are_first(monkeypatch):
    features = np.tile(np.eye(3), (4, 1))
    copies = [(i, j) for i in range(12) for j in range(i + 1, 12) if (j - i) % 3 == 0]
    for block in (2, 5, 512):
        monkeypatch.setattr(nearest, "BLOCK", block)
        found = nearest_pairs(features, 5, "cosine")
        assert [*map(tuple, found.images)] == copies[:5]


def test_images_without_direction_are_like_none():
    features = np.array([[0, 0, 0], [1, 1, 1], [1, 2, 3], [1, 2, 4]], float)
    found = nearest_pairs(features, 6, "correlation")
    assert tuple(found.images[0]) == (2, 3) and np.isfinite(found.similarity).all()
    np.testing.assert_array_equal(found.similarity[1:], 0)
    np.testing.assert_array_equal(nearest_pairs(features, 6, "cosine").similarity[3:], 0)


def test_small_distances_between_large_numbers_are_kept():
    features = 1e4 + drawn(30) * 1e-2
    expected = np.sort(distance.pdist(features))[:5]
    np.testing.assert_allclose(-nearest_pairs(features, 5, "euclidean").similarity, expected, rtol=1e-6)


def apart_by_definition(close, distant, metric, neighbours):
    """(share, similarity, i, j) of all pairs that are among the nearest of each other, sorted."""
    near, far = similarities(close, metric), similarities(distant, metric)
    number, found = len(near), []
    ranks = [
        sorted((j for j in range(number) if j != i), key=lambda j: -near[i, j])[:neighbours] for i in range(number)
    ]
    for i in range(number):
        for j in range(i + 1, number):
            if j in ranks[i] and i in ranks[j]:
                nearer = [
                    sum(far[a, k] > far[a, b] for k in range(number) if k not in (a, b)) for a, b in ((i, j), (j, i))
                ]
                found.append((min(nearer) / (number - 2), near[i, j], i, j))
    return sorted(found, key=lambda one: (-one[0], -one[1]))


@pytest.mark.parametrize("metric", METRICS)
def test_close_and_distant_by_rank_is_the_definition(monkeypatch, metric):
    monkeypatch.setattr(nearest, "BLOCK", 16)
    close, distant = drawn(40), drawn(40, 5, seed=1)
    expected = apart_by_definition(close, distant, metric, 3)
    found = apart_by_rank(close, distant, 1000, metric, neighbours=3)
    assert [*map(tuple, found.images)] == [one[2:] for one in expected]
    np.testing.assert_allclose(found.apart, [one[0] for one in expected])
    np.testing.assert_allclose(found.similarity, [one[1] for one in expected])


def test_a_pair_that_one_space_tears_apart_is_first():
    close = drawn(50, 6)
    distant = close.copy()
    close[20] = close[4] + 1e-3
    distant[4], distant[20] = 50 * np.eye(6)[0], 50 * np.eye(6)[1]
    for pairs in (
        apart_by_rank(close, distant, 1, "euclidean"),
        apart_by_clusters(
            close, distant, 1, "euclidean", many=np.arange(50) % 16, few=(np.arange(50) == 4).astype(int)
        ),
    ):
        assert tuple(pairs.images[0]) == (4, 20) and pairs.apart[0] > 0.9
    same = apart_by_rank(close, close, 10, "euclidean")
    assert same.apart.max() <= 4 / 48


def test_clusters_say_what_is_close_and_what_is_distant():
    close, distant = drawn(12), drawn(12, seed=1)
    many, few = np.repeat([0, 1, 2], 4), np.arange(12) % 2
    found = apart_by_clusters(close, distant, 100, many=many, few=few)
    expected = {(i, j) for i in range(12) for j in range(i + 1, 12) if i // 4 == j // 4 and (j - i) % 2}
    assert set(map(tuple, found.images)) == expected and len(found) == len(expected)
    assert (np.diff(found.similarity) <= 0).all()
    nothing = apart_by_clusters(close, distant, 100, many=np.arange(12), few=few)
    assert len(nothing) == 0


def test_numbers_of_clusters_suit_the_number_of_images():
    assert nearest.numbers_of_clusters(30_000) == (1001, 4)
    assert nearest.numbers_of_clusters(1000) == (200, 4)
    assert nearest.numbers_of_clusters(12) == (2, 2)


def material(images=60, labels=True, seed=0):
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, images)
    spaces = {"detection": random.normal(size=(images, 8)), "classification": 4 * np.eye(3, 8)[classes]}
    spaces["classification"] = spaces["classification"] + random.normal(size=(images, 8))
    return Features(
        names=[str(number) for number in range(images)],
        images=random.integers(0, 256, (images, 20, 20, 3)).astype(np.uint8),
        maps={},
        pooled={name: values.astype(np.float32) for name, values in spaces.items()},
        heads={},
        encoders={},
        labels=classes.astype(np.int32) if labels else None,
        classes=("cat", "dog", "bird") if labels else (),
        train=np.zeros(images, bool),
        boxes=None,
        mean=np.zeros(3),
    )


@pytest.mark.parametrize("apart", ["rank", "clusters"])
def test_the_study_compares_labels_and_shows_pairs(apart):
    given = material()
    findings = nearest.study(nearest.Settings(pairs=4, apart=apart), given, iter)
    labels = given.labels
    pairs = nearest_pairs(given.pooled["classification"], 60).images
    share = (labels[pairs[:, 0]] == labels[pairs[:, 1]]).mean()
    assert findings.numbers["classification"]["accuracy_nearest_pairs"] == pytest.approx(share) and share > 0.9
    assert findings.numbers["detection"]["accuracy_nearest_pairs"] < 0.7
    equal = np.mean([labels[i] == labels[j] for i in range(60) for j in range(60) if i != j])
    assert findings.tables[0].rows[-1] == ("all pairs", [pytest.approx(equal)] * 2)
    names = [name for name, _, _ in findings.figures]
    assert names == ["nearest_1", "nearest_2", "nearest_apart_1", "nearest_apart_2"]
    assert all(picture.mode == "RGBA" and min(picture.size) > 100 for _, _, picture in findings.figures)
    assert ("12 clusters" in findings.text[1]) == (apart == "clusters")
    assert not findings.claims


def test_without_labels_there_are_pictures_alone():
    findings = nearest.study(nearest.Settings(pairs=3), material(labels=False), iter)
    assert findings.numbers == {"detection": {}, "classification": {}} and not findings.tables
    assert len(findings.figures) == 4


def test_too_few_images_and_bad_settings_are_refused():
    with pytest.raises(UserError, match="there are 2 images"):
        nearest.study(nearest.Settings(), material(2), iter)
    with pytest.raises(UserError, match=r"--nearest\.pairs is 0"):
        nearest.Settings(pairs=0)
    with pytest.raises(ValueError, match="metric 'l1'; choose from"):
        nearest_pairs(drawn(), 3, "l1")
    with pytest.raises(ValueError, match="the features of image 2 are not finite"):
        nearest_pairs(np.array([[0.0], [1], [np.nan]]), 1, "euclidean")
    with pytest.raises(ValueError, match="of 5 and of 6 images"):
        apart_by_rank(drawn(5), drawn(6), 3)


def test_memory_grows_with_the_images_and_not_with_their_square():
    import tracemalloc

    held = []
    for images in (1000, 3000):
        features = drawn(images, 4)
        tracemalloc.start()
        apart_by_rank(features, features[:, ::-1] ** 2, 5)
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert held[1] < 4 * held[0]

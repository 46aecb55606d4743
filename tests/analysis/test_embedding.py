"""Maps by t-SNE, and the vote of the nearest images."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import distance

from kerastransfer.analysis import embedding
from kerastransfer.analysis.embedding import embed, neighbour_accuracy
from kerastransfer.analysis.material import Features
from kerastransfer.errors import UserError
from kerastransfer.report import style


def groups(images=60, classes=3, features=20, apart=6.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    return apart * np.eye(classes, features)[labels] + random.normal(size=(images, features)), labels


def test_groups_stay_together_and_the_same_seed_gives_the_same_map():
    features, labels = groups()
    places = embed(features, 5, iterations=250, seed=1)
    assert places.shape == (60, 2) and places.dtype == np.float32
    # The map depends on the processor's rounding: one or two images may lie at the edge of their group.
    assert neighbour_accuracy(places, labels, 5).mean() > 0.9
    np.testing.assert_array_equal(embed(features, 5, iterations=250, seed=1), places)


def test_few_features_and_few_images():
    assert embed(np.arange(12.0)[:, None], 3, iterations=250).shape == (12, 2)
    assert embed(groups(5, 2)[0], 2, iterations=250).shape == (5, 2)


@pytest.mark.parametrize(
    ("features", "perplexity", "message"),
    [
        (np.ones((10, 3)), 10, "a perplexity of 10 for 10 images; give one below their number"),
        (np.ones((10, 3)), 0, "a perplexity of 0"),
        (np.ones(10), 2, r"give finite ones \(N, D\)"),
        (np.full((10, 3), np.nan), 2, r"give finite ones \(N, D\)"),
    ],
)
def test_what_has_no_map_is_refused(features, perplexity, message):
    with pytest.raises(ValueError, match=message):
        embed(features, perplexity)


@pytest.mark.parametrize(("neighbours", "classes"), [(1, 4), (3, 2), (9, 2)])
def test_the_vote_is_its_definition(neighbours, classes):
    """Of an odd number of votes for two classes, and of a single vote, none are tied."""
    features, labels = groups(80, classes, apart=1.5)
    apart = distance.squareform(distance.pdist(features))
    np.fill_diagonal(apart, np.inf)
    votes = labels[np.argsort(apart, axis=1)[:, :neighbours]]
    expected = [np.bincount(one).argmax() for one in votes]
    found = neighbour_accuracy(features, labels, neighbours)
    np.testing.assert_array_equal(found, labels == expected)
    assert 0.4 < found.mean() < 1


def test_of_tied_classes_the_nearest_image_decides():
    """On a line: image 0 has neighbours of classes 1, 0, 0, 1 in this order, and of 1, 0, 0."""
    points, labels = np.array([[0.0], [1], [-2], [3], [-4]]), np.array([1, 1, 0, 0, 1])
    assert neighbour_accuracy(points, labels, 4)[0] == 1
    assert neighbour_accuracy(points, labels, 3)[0] == 0
    assert neighbour_accuracy(points, 1 - labels, 4)[0] == 1


def test_copies_are_neighbours_and_the_image_itself_is_not():
    points, labels = np.zeros((4, 2)), np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(neighbour_accuracy(np.repeat([[0.0], [9.0]], 2, axis=0), labels, 1), 1)
    assert neighbour_accuracy(points, labels, 1).shape == (4,)


def test_the_only_image_of_a_class_is_not_counted():
    features, labels = groups(12, 2)
    labels[3] = 7
    found = neighbour_accuracy(features, labels, 3)
    assert np.isnan(found[3]) and not np.isnan(np.delete(found, 3)).any()
    assert np.isnan(neighbour_accuracy(features[:1], labels[:1], 3)).all()


def material(images=60, classes=3, labels=True):
    random = np.random.default_rng(0)
    features, of_class = groups(images, classes)
    return Features(
        names=[str(number) for number in range(images)],
        images=random.integers(0, 256, (images, 16, 16, 3)).astype(np.uint8),
        maps={},
        pooled={
            "detection": random.normal(size=(images, 12)).astype(np.float32),
            "classification": features.astype(np.float32),
        },
        heads={},
        encoders={},
        labels=of_class.astype(np.int32) if labels else None,
        classes=[f"class {k}" for k in range(classes)],
        train=np.zeros(images, bool),
        boxes=None,
        mean=np.zeros(3),
    )


SHORT = {"iterations": 250, "perplexity": 5.0}


def test_the_study_measures_and_draws():
    given = material()
    findings = embedding.study(embedding.Settings(**SHORT), given, iter)
    for name in given.pooled:
        right = neighbour_accuracy(given.pooled[name], given.labels, 10)
        assert findings.numbers[name]["accuracy_neighbours_space"] == pytest.approx(right.mean())
    assert findings.numbers["classification"]["accuracy_neighbours_map"] > 0.9
    assert findings.numbers["detection"]["accuracy_neighbours_map"] < 0.7
    in_map, in_space = (cells for _, cells in findings.tables[0].rows)
    assert in_map[2].high < 0 and in_space[2].high < 0
    assert [name for name, _, _ in findings.figures] == ["embedding", "embedding_images_1", "embedding_images_2"]
    chart = findings.figures[0][2]
    assert min(Image.open(io.BytesIO(style.png(chart))).size) > 300
    assert sum(len(dots.get_offsets()) for dots in chart.axes[0].collections) == 60
    assert [text.get_text() for text in chart.legends[0].texts] == ["class 0", "class 1", "class 2"]


def test_of_many_images_some_are_taken_and_it_is_said():
    findings = embedding.study(embedding.Settings(images=30, **SHORT), material(), iter)
    assert "30 images, taken at equal distances from 60" in findings.text[0]
    assert sum(len(dots.get_offsets()) for dots in findings.figures[0][2].axes[0].collections) == 30


def test_images_that_are_alone_in_their_class_are_said():
    given = material(20, 3)
    given.labels[5] = 2
    given.labels[:] = np.where(np.arange(20) == 5, 2, np.arange(20) % 2)
    findings = embedding.study(embedding.Settings(**SHORT), given, iter)
    assert "1 images are the only ones of their class" in findings.text[-1]


def test_without_labels_nothing_is_measured():
    findings = embedding.study(embedding.Settings(**SHORT), material(labels=False), iter)
    assert findings.numbers == {"detection": {}, "classification": {}} and not findings.tables
    assert len(findings.figures) == 3


def test_a_perplexity_that_is_too_large_is_one_line():
    with pytest.raises(
        UserError, match=r"--embedding\.perplexity is 10 and there are 8 images; give a perplexity below 8"
    ):
        embedding.study(embedding.Settings(), material(8), iter)
    with pytest.raises(UserError, match="there are 9 images"):
        embedding.study(embedding.Settings(images=9), material(30), iter)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"perplexity": -1}, r"--embedding\.perplexity is -1; it must be above 0"),
        ({"iterations": 100}, r"--embedding\.iterations is 100; t-SNE needs 250 or more"),
        ({"angle": 1.5}, r"--embedding\.angle is 1\.5; give a number from 0 to 1"),
    ],
)
def test_settings_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        embedding.Settings(**values)

"""The linear probe: what it segments, that it never sees what it is scored on, and how it doubts."""

import numpy as np
import pytest

from kerastransfer.analysis import probe
from kerastransfer.analysis.pixel_features import PixelFeatures
from kerastransfer.vocabulary import VOID

SIZE = 16


def scenes(images=10, noise=0.3, seed=0, classes=2):
    """Features whose first channels say the class of each cell, and the maps (N, H, W): a square of a class on 0."""
    random = np.random.default_rng(seed)
    cells = np.zeros((images, 4, 4), int)
    for image in range(images):
        top, left = random.integers(0, 3, 2)
        cells[image, top : top + 2, left : left + 2] = 1 + image % (classes - 1)
    taps = np.eye(classes)[cells] + noise * random.normal(size=(images, 4, 4, classes))
    useless = random.normal(size=(images, 1, 1, 3))
    maps = {"c1": taps.astype("float16"), "c2": useless.astype("float16")}
    return PixelFeatures(maps, (SIZE, SIZE)), cells.repeat(4, 1).repeat(4, 2).astype("uint8")


def test_clear_features_are_segmented():
    features, segmentation = scenes(noise=0.05)
    found = probe.cross_validated(features, segmentation, 2)
    # Pixels between two positions of the tap are blurred.
    assert found.mean > 0.75
    assert found.by_fold.shape == (5,) and found.by_fold.mean() == pytest.approx(found.mean)


def test_the_area_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    labels, logits = np.arange(60) % 2, random.normal(size=(60, 2)).round(1)
    assert probe.areas(logits, labels) == pytest.approx(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    assert np.isnan(probe.areas(logits, np.zeros(60, int)))
    clear = 5 * np.eye(3)[np.arange(60) % 3]
    assert probe.areas(clear + random.normal(size=3), np.arange(60) % 3) == 1
    assert probe.areas(random.normal(size=(3000, 3)), np.arange(3000) % 3) == pytest.approx(0.5, abs=0.03)


def test_the_area_does_not_depend_on_where_the_line_is():
    found = probe.cross_validated(*scenes(noise=0.05), 2)
    assert found.mean_auc > 0.9 and found.auc.shape == (10,)


def test_worse_features_score_lower():
    means = [probe.cross_validated(*scenes(noise=noise), 2).mean for noise in (0.05, 0.6, 5.0)]
    assert sorted(means, reverse=True) == means


def test_three_classes():
    features, segmentation = scenes(noise=0.05, classes=3, images=12)
    assert probe.cross_validated(features, segmentation, 3).mean > 0.7


def test_an_image_is_never_scored_by_a_probe_that_saw_its_pixels(monkeypatch):
    features, segmentation = scenes()
    points = probe.drawn(segmentation)
    rows = points.image[:, None] * np.ones((1, features.channels), np.float32)
    seen, scored = [], []
    monkeypatch.setattr(
        probe, "fit", lambda rows, *_: seen.append(set(rows[:, 0])) or probe.Probe(np.zeros((5, 2)), np.zeros(2))
    )
    monkeypatch.setattr(probe, "scored", lambda *given: scored.append(set(given[3])) or np.zeros(len(given[3])))
    probe.cross_validated(features, segmentation, 2, rows=(points, rows))
    probe.learning_curve(features, segmentation, 2, [2, 5], passes=1, parts=2, rows=(points, rows))
    assert len(seen) == 9
    assert all(not one & other for one, other in zip(seen, scored, strict=True))
    assert set().union(*scored[:5]) == set(range(10))
    # Nested: the smaller subset is part of the larger.
    assert seen[5] < seen[6] and len(seen[5]) == 2 and len(seen[6]) == 5


def test_folds_are_the_same_for_every_encoder():
    one, other = (probe.cross_validated(*scenes(noise=noise), 2, seed=3) for noise in (0.1, 0.5))
    assert (one.fold == other.fold).all() and sorted(np.bincount(one.fold)) == [2] * 5


def test_more_masks_help():
    features, segmentation = scenes(images=16, noise=0.5)
    curve = probe.learning_curve(features, segmentation, 2, [1, 3, 12], passes=2)
    assert curve.shape == (8, 3, 16)
    # Every image is scored once in each pass.
    assert ((~np.isnan(curve)).sum(axis=0) == 2).all()
    assert np.nanmean(curve[:, 2]) > np.nanmean(curve[:, 0])


def test_points_are_balanced_and_weighted_back():
    segmentation = np.zeros((2, SIZE, SIZE), np.uint8)
    segmentation[0, :2, :4], segmentation[0, 8:] = 1, VOID
    segmentation[1] = VOID
    points = probe.drawn(segmentation, per_class=16)
    assert set(points.image) == {0}
    assert np.bincount(points.label).tolist() == [16, 8]
    assert points.weight[points.label == 1].sum() == pytest.approx(8 / SIZE**2)
    assert points.weight[points.label == 0].sum() == pytest.approx(120 / SIZE**2)
    assert (segmentation[points.image, points.row, points.column] == points.label).all()
    with pytest.raises(ValueError, match="all are void"):
        probe.drawn(segmentation[1:])


def test_doubt_is_between_sure_and_undecided():
    features, _ = scenes(noise=0.0)
    undecided = probe.Probe(np.zeros((5, 2)), np.zeros(2))
    assert undecided.doubt(features, 0) == pytest.approx(1)
    sure = probe.Probe(np.zeros((5, 2)), np.array([0.0, 40.0]))
    assert sure.doubt(features, 0) == pytest.approx(0, abs=1e-6)


def test_a_class_that_was_not_seen_is_never_predicted():
    features, segmentation = scenes(noise=0.05)
    points = probe.drawn(segmentation)
    rows = probe.at_points(features, points)
    three = probe.fit(rows, points.label, points.weight, 3)
    assert set(np.unique(three.classes(features, 0))) <= {0, 1}
    assert np.isfinite(three.doubt(features, 0))
    alone = probe.fit(rows, np.zeros(len(rows), int), points.weight, 2)
    assert (alone.classes(features, 0) == 0).all()


def test_a_feature_that_never_changes_is_left_out():
    features, segmentation = scenes(noise=0.05)
    maps = {**features.maps, "c3": np.full((10, 2, 2, 2), 7, "float16")}
    wider = PixelFeatures(maps, features.size)
    found = probe.cross_validated(wider, segmentation, 2)
    assert found.mean == pytest.approx(probe.cross_validated(features, segmentation, 2).mean, abs=0.01)


def test_too_few_images_are_refused():
    features, segmentation = scenes(images=3)
    with pytest.raises(ValueError, match="3 images in 5 folds"):
        probe.cross_validated(features, segmentation, 2)
    with pytest.raises(ValueError, match="give 1 to 2"):
        probe.learning_curve(features, segmentation, 2, [1, 3])

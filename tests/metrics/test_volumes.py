"""Dice of volumes against a naive computation, and against IoU."""

import numpy as np
import pytest

from kerastransfer.metrics import volumes

CLASSES = ("background", "front", "back")


def drawn(seed, shape=(4, 6, 5)):
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)


def test_dice_against_sets_of_voxels():
    truths, guesses = [drawn(0), drawn(1, (3, 3, 3))], [drawn(2), drawn(3, (3, 3, 3))]
    found = volumes.per_volume(truths, guesses, 3)
    for number, (truth, guess) in enumerate(zip(truths, guesses, strict=True)):
        each = []
        for label in (1, 2):
            a, b = ({tuple(place) for place in np.argwhere(one == label)} for one in (truth, guess))
            each.append(2 * len(a & b) / (len(a) + len(b)))
        assert found["class_dice"][number] == pytest.approx(each)
        assert found["dice"][number] == pytest.approx(np.mean(each))


def test_iou_follows_from_dice_where_there_is_one_class():
    """IoU = D / (2 - D), so that IoU is never above Dice."""
    pairs = [((drawn(seed) > 1).astype(np.uint8), (drawn(seed + 50) > 1).astype(np.uint8)) for seed in range(8)]
    found = volumes.per_volume(*zip(*pairs, strict=True), 2)
    np.testing.assert_allclose(found["iou"], found["dice"] / (2 - found["dice"]))
    assert (found["iou"] <= found["dice"]).all()


def test_a_class_that_is_nowhere_is_left_out():
    truth = np.zeros((2, 2, 2), np.uint8)
    guess = truth.copy()
    one = truth.copy()
    one[0, 0, 0] = 1
    found = volumes.per_volume([truth, one, truth], [guess, one, one], 3)
    assert np.isnan(found["dice"][0]) and found["dice"][1:].tolist() == [1, 0]
    assert np.isnan(found["class_dice"][:, 1]).all()
    summary = volumes.summarise(found, CLASSES)
    assert summary["dice_mean"] == 0.5 and summary["dice_min"] == 0 and summary["volumes"] == 2
    assert summary["dice/front"] == 0.5 and np.isnan(summary["dice/back"])


def test_nothing_at_all_has_no_score():
    empty = np.zeros((2, 2, 2), np.uint8)
    summary = volumes.summarise(volumes.per_volume([empty], [empty], 3), CLASSES)
    assert np.isnan(summary["dice_mean"]) and np.isnan(summary["dice_min"]) and summary["volumes"] == 0

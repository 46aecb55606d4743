"""Altered images: where they say they changed is where they changed, sides are as published, seeds decide."""

import numpy as np
import pytest
import tensorflow as tf

from kerastransfer.data import masking
from kerastransfer.data.masking import masked, painted_around, painted_inside, shuffled

SIDE = 224


def image(side=SIDE):
    return np.random.default_rng(0).uniform(0, 255, (side, side, 3)).astype("float32")


@pytest.mark.parametrize("alter", [shuffled, painted_inside, painted_around])
def test_only_what_is_marked_has_changed(alter):
    given = image()
    before = given.copy()
    for seed in range(5):
        changed, where = alter(given, np.random.default_rng(seed))
        differs = (changed != given).any(axis=-1)
        assert not differs[where == 0].any()
        # A shuffled pixel may stay where it was, and a colour may be that of a pixel.
        assert differs[where == 1].mean() > 0.98
        assert set(np.unique(where)) == {0, 1}
    np.testing.assert_array_equal(given, before)


def test_shuffling_permutes_whole_pixels_of_a_block(monkeypatch):
    monkeypatch.setattr(masking, "BLOCKS", 1)
    given = image(60)
    for seed in range(5):
        changed, where = shuffled(given, np.random.default_rng(seed))
        (top, bottom), (left, right) = sides(where)
        assert where.sum() == (bottom - top) * (right - left)
        pixels = [sorted(map(tuple, one[where == 1].tolist())) for one in (given, changed)]
        assert pixels[0] == pixels[1]


def sides(where):
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)


@pytest.mark.parametrize(("sizes", "low", "high"), [(masking._of_rectangles, 31, 43), (masking._of_windows, 129, 160)])
def test_sides_are_as_published_and_keep_off_the_border(sizes, low, high):
    lengths = []
    for seed in range(400):
        places = masking._places(image(), np.random.default_rng(seed), 5, 0.95, sizes, border=3)
        for rows, columns in places:
            lengths += [rows.stop - rows.start, columns.stop - columns.start]
            assert min(rows.start, columns.start) >= 3 and max(rows.stop, columns.stop) <= SIDE - 3
    assert (min(lengths), max(lengths)) == (low, high)


def test_a_rectangle_has_one_colour_and_around_windows_there_is_one():
    changed, where = painted_around(image(), np.random.default_rng(2))
    assert len(np.unique(changed[where == 1], axis=0)) == 1
    changed, where = painted_inside(image(), np.random.default_rng(2))
    assert 1 <= len(np.unique(changed[where == 1], axis=0)) <= 5


def test_the_three_ways_are_equally_frequent():
    given, kinds = image(40), []
    values = set(np.unique(given))
    for seed in range(600):
        changed, where = masked(given, np.random.default_rng(seed))
        inside = "shuffled" if values.issuperset(np.unique(changed)) else "inside"
        kinds.append("around" if where[0].all() else inside)
    for kind in ("around", "shuffled", "inside"):
        assert kinds.count(kind) / 600 == pytest.approx(1 / 3, abs=0.06), kind


def test_batches_repeat_by_seed_and_in_shares():
    given = tf.constant(np.stack([image(48)] * 4))
    whole = masking.masking(given, tf.constant([3, -9]))
    again = masking.masking(given, tf.constant([3, -9]))
    other = masking.masking(given, tf.constant([4, -9]))
    for one, two, three in zip(whole, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, three)
    assert len({np.asarray(one).tobytes() for one in whole[1]}) == 4
    parts = [masking.masking(given[2 * part : 2 * part + 2], tf.constant([3, -9]), (part, 2)) for part in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), whole[0])

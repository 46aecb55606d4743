import dataclasses

import numpy as np
import pytest

from kerastransfer.data import anchors, toy
from kerastransfer.errors import UserError


def test_k_means_finds_the_clusters_that_shapes_were_drawn_around():
    random = np.random.default_rng(0)
    centres = np.array([[10, 20], [60, 25], [50, 120.0]])
    sides = np.concatenate([centre * random.uniform(0.95, 1.05, (50, 2)) for centre in centres])
    np.testing.assert_allclose(anchors.k_means(sides, 3), centres, rtol=0.03)


def test_overlap_by_hand():
    found = anchors.overlap(np.array([[4.0, 2.0]]), np.array([[4, 2], [2, 4], [8, 4.0]]))
    np.testing.assert_allclose(found, [[1, 4 / 12, 8 / 32]])


def test_fewer_shapes_than_anchors_still_give_different_ones():
    found = anchors.k_means(np.array([[10.0, 20.0]] * 5), 3)
    assert len(np.unique(found, axis=0)) == 3
    assert [10, 20] in found.tolist()


def test_anchors_of_a_data_set_are_in_pixels_of_the_input_by_rising_area():
    data = toy.toy(count=12, seed=0)
    small, large = (anchors.fitted(data, 4, (side, side)) for side in (64, 128))
    np.testing.assert_allclose(np.array(large), 2 * np.array(small), rtol=1e-6)
    areas = [w * h for w, h in small]
    assert areas == sorted(areas)


def test_a_data_set_without_boxes_is_refused():
    data = toy.toy(count=2, seed=0)
    bare = dataclasses.replace(data, samples=tuple(dataclasses.replace(s, fields=frozenset()) for s in data.samples))
    with pytest.raises(UserError, match="no object"):
        anchors.fitted(bare, 3, (64, 64))

import numpy as np
import pytest
from keras import ops

from kerastransfer.codecs.matching import by_overlap


def matched(overlaps, labels, **options):
    found = by_overlap(ops.convert_to_tensor(overlaps, "float32"), ops.convert_to_tensor(labels, "int32"), **options)
    return [ops.convert_to_numpy(values) for values in found]


def test_thresholds_by_hand():
    """Background below 0.3, ignored up to 0.7; an overlap that equals a threshold is above it."""
    overlaps = [[[0.0, 0.25, 0.5, 0.75, 1.0], [0.1, 0.5, 0.25, 0.0, 0.0]]]
    state, owner = matched(overlaps, [[4, 2]], low=0.25, high=0.75, best_of_each=False)
    np.testing.assert_array_equal(state, [[0, -1, -1, 1, 1]])
    np.testing.assert_array_equal(owner, [[1, 1, 0, 0, 0]])


def test_the_best_anchors_of_each_object_learn():
    """Of object 0 two are equally good; object 1 meets none; object 2 is padding, whatever it overlaps."""
    overlaps = [[[0.2, 0.2, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0], [0.9, 0.9, 0.9, 0.9]]]
    state, owner = matched(overlaps, [[0, 1, -1]], low=0.3, high=0.7)
    np.testing.assert_array_equal(state, [[1, 1, 0, 0]])
    np.testing.assert_array_equal(owner[0, :2], [0, 0])


@pytest.mark.parametrize("best_of_each", [False, True])
def test_equals_a_loop(best_of_each):
    random = np.random.default_rng(0)
    overlaps = (random.integers(0, 20, (3, 6, 40)) / 20).astype("float32")
    labels = random.integers(-1, 3, (3, 6))
    state, owner = matched(overlaps, labels, low=0.4, high=0.95, best_of_each=best_of_each)
    for image in range(3):
        real = np.flatnonzero(labels[image] >= 0)
        own = overlaps[image, real]
        for anchor in range(40):
            best = own[:, anchor].max()
            wanted = 1 if best >= np.float32(0.95) else 0 if best < np.float32(0.4) else -1
            if best_of_each and any(row[anchor] == row.max() > 0 for row in own):
                wanted = 1
            assert state[image, anchor] == wanted
            assert owner[image, anchor] == real[own[:, anchor].argmax()]


def test_no_objects_at_all():
    state, _ = matched(np.ones((1, 2, 3)), [[-1, -1]], low=0.4, high=0.5)
    np.testing.assert_array_equal(state, [[0, 0, 0]])

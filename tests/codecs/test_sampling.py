import keras
import numpy as np
import pytest

from kerastransfer.codecs.sampling import sampled


def drawn(state, most, share, seed=0):
    return np.asarray(sampled(np.int32(state), most, share, keras.random.SeedGenerator(seed)))


@pytest.mark.parametrize(
    ("objects", "background", "expected"),
    [(40, 400, (16, 48)), (5, 400, (5, 59)), (0, 400, (0, 64)), (40, 10, (16, 10)), (3, 0, (3, 0)), (0, 0, (0, 0))],
)
def test_as_many_as_there_should_be(objects, background, expected):
    """Of 64, at most a quarter have an object; background makes up the rest, as far as there is any."""
    state = np.full((2, 500), -1)
    state[:, :objects], state[:, 450 - background : 450] = 1, 0
    found = drawn(np.random.default_rng(0).permuted(state, axis=1), 64, 0.25)
    assert [((row == 1).sum(), (row == 0).sum()) for row in found] == [expected] * 2


def test_what_is_drawn_is_what_it_was():
    state = np.random.default_rng(1).integers(-1, 2, (3, 200))
    found = drawn(state, 50, 0.5)
    kept = found >= 0
    np.testing.assert_array_equal(found[kept], state[kept])
    assert (kept.sum(1) == 50).all()


def test_every_candidate_has_its_turn():
    state, seed = np.int32([[1] * 8 + [0] * 24]), keras.random.SeedGenerator(3)
    total = sum(np.asarray(sampled(state, 8, 0.5, seed)) >= 0 for _ in range(200))[0]
    # 4 of 8, and 4 of 24, in 200 draws.
    assert total[:8].min() > 70 and total[:8].max() < 130 and total[8:].min() > 12 and total[8:].max() < 60


def test_fewer_candidates_than_are_drawn():
    np.testing.assert_array_equal(drawn([[1, 0, -1, 1]], 10, 0.5), [[1, 0, -1, 1]])

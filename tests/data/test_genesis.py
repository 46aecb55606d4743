"""The deformations of Models Genesis: what each changes, and what it leaves."""

import numpy as np
import pytest

from kerastransfer.data import genesis
from kerastransfer.data.genesis import Deformations

SHAPE = (20, 30, 24)
ALONE = {"flip": 0.0, "shuffle": 0.0, "bend": 0.0, "paint": 0.0}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def cube():
    return rng(99).random(SHAPE, "float32")


@pytest.mark.parametrize(
    "deform", [genesis.shuffled, genesis.bent, genesis.painted_inside, genesis.painted_outside, Deformations()]
)
def test_the_same_seed_gives_the_same(cube, deform):
    given = cube.copy()
    first, again, other = (np.asarray(deform(rng(seed), cube)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    assert first.dtype == np.float32 and first.min() >= 0 and first.max() <= 1
    assert (cube == given).all()


def test_a_shuffled_block_keeps_its_values():
    """With one block, what changed lies in a box no longer than a tenth of the cube, with the same values as before."""
    cube = np.arange(np.prod(SHAPE), dtype="float32").reshape(SHAPE)
    changed = 0
    for seed in range(30):
        out = genesis.shuffled(rng(seed), cube, blocks=1)
        assert (np.sort(out, axis=None) == cube.ravel()).all()
        places = np.argwhere(out != cube)
        if len(places):
            changed += 1
            sides = np.ptp(places, axis=0) + 1
            assert (sides <= np.array(SHAPE) // 10).all()
            box = tuple(slice(low, high + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
            assert (np.sort(out[box], axis=None) == np.sort(cube[box], axis=None)).all()
    assert changed > 15


def test_cubes_of_all_sizes_are_shuffled_as_often():
    """Values are of the cube itself, near their place, and about as many are elsewhere as in the published cubes."""
    shares = []
    for shape in ((64, 64, 32), (32, 48, 32), (40, 40, 40)):
        cube = np.arange(np.prod(shape), dtype="float32").reshape(shape)
        out = genesis.shuffled(rng(), cube)
        assert np.isin(out, cube).all()
        moved = np.abs(np.array(np.unravel_index(out.astype(int), shape)) - np.indices(shape)).max(axis=(1, 2, 3))
        assert (moved < np.maximum(1, np.array(shape) // 10)).all()
        shares.append((out != cube).mean())
    assert min(shares) > 0.5 and max(shares) - min(shares) < 0.2


def test_a_cube_without_room_for_blocks_stays(cube):
    small = cube[:9, :9, :9]
    assert (genesis.shuffled(rng(), small) == small).all()


def test_curves_rise_from_0_to_1():
    for seed in range(200):
        x, y = genesis.curve(*rng(seed).random((2, 2)))
        for values in (x, y):
            assert values[0] == 0 and values[-1] == 1 and (np.diff(values) >= 0).all()
    for line in genesis.curve((1 / 3, 1 / 3), (2 / 3, 2 / 3)):
        np.testing.assert_allclose(line, np.linspace(0, 1, 1000), atol=1e-12)


def test_bent_values_rise_or_fall_with_the_old_ones(cube):
    order, rising = np.argsort(cube, axis=None), []
    for seed in range(40):
        steps = np.diff(genesis.bent(rng(seed), cube).ravel()[order])
        rising.append(bool((steps >= 0).all()))
        assert rising[-1] or (steps <= 0).all()
    assert 8 < sum(rising) < 32


def test_painting_inside_leaves_the_outside(cube):
    for seed in range(20):
        boxes = genesis.boxes(rng(seed), SHAPE, genesis.PAINTED)
        out = genesis.painted_inside(rng(seed), cube)
        mask = np.zeros(SHAPE, bool)
        for box in boxes:
            mask[box] = True
        assert (out[~mask] == cube[~mask]).all() and (out[mask] != cube[mask]).mean() > 0.99
        assert out[mask].std() > 0.2, "noise of its own for each voxel"
        assert 1 <= len(boxes) <= genesis.MOST_BOXES


def test_painting_outside_leaves_the_windows(cube):
    for seed in range(20):
        generator = rng(seed)
        out = genesis.painted_outside(generator, cube)
        same = out == cube
        again = rng(seed)
        again.random(SHAPE, "float32")
        mask = np.zeros(SHAPE, bool)
        for box in genesis.boxes(again, SHAPE, genesis.UNPAINTED):
            mask[box] = True
        assert same[mask].all() and same[~mask].mean() < 0.01


def test_boxes_keep_their_bounds():
    for shares in (genesis.PAINTED, genesis.UNPAINTED):
        low, high = (np.round(np.multiply(share, SHAPE)) for share in shares)
        for seed in range(50):
            for box in genesis.boxes(rng(seed), SHAPE, shares):
                sides = np.array([one.stop - one.start for one in box])
                assert (low <= sides).all() and (sides <= high).all()
                assert all(
                    one.start >= genesis.MARGIN and one.stop <= side - genesis.MARGIN
                    for one, side in zip(box, SHAPE, strict=True)
                )


def test_small_cubes_have_boxes_too():
    for box in genesis.boxes(rng(), (2, 1, 3), genesis.UNPAINTED):
        assert all(0 <= one.start < one.stop <= side for one, side in zip(box, (2, 1, 3), strict=True))


def test_the_target_is_the_cube_and_the_input_is_deformed(cube):
    deformed, target = Deformations(**{**ALONE, "paint": 1.0})(rng(), cube)
    assert (target == cube).all() and (deformed != cube).any()
    deformed, target = Deformations(**ALONE)(rng(), cube)
    assert (target == cube).all() and (deformed == cube).all()


def test_flips_turn_both():
    cube, turned = rng(3).random(SHAPE, "float32"), set()
    for seed in range(60):
        deformed, target = Deformations(**{**ALONE, "flip": 0.4})(rng(seed), cube)
        assert (deformed == target).all() and np.isclose(target.sum(), cube.sum())
        turned.add(tuple((np.flip(cube, axes) == target).all() for axes in ((), 0, 1, 2)))
    assert len(turned) >= 4


def test_each_happens_about_as_often_as_it_should(cube):
    """Painted cubes are told by their noise: only then is a value above 1 - 1e-3 of this cube of at most 0.5."""
    dark = cube / 2
    painted = [
        Deformations(**{**ALONE, "paint": 0.9, "outer": 0.8})(rng(seed), dark)[0].max() > 0.9 for seed in range(200)
    ]
    assert 0.84 < np.mean(painted) < 0.96
    bent = [(Deformations(**{**ALONE, "bend": 0.9})(rng(seed), dark)[0] != dark).any() for seed in range(100)]
    assert 0.82 < np.mean(bent) < 0.98

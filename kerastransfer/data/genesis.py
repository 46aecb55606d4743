"""The deformations that Models Genesis learns to undo (Zhou et al. 2019), of a cube with values in 0..1.

The sides of painted boxes, and how many there are, are ours; they follow Dippel et al. 2022, who paint in two axes.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

# Published are 10,000 blocks in cubes of 64 x 64 x 32 voxels, with sides of 1 to 6, 6 and 3 of them: together 1.87
# times as many voxels as the cube has. Cubes of other sizes are shuffled as often.
SHUFFLED = 10_000 * 3.5 * 3.5 * 2 / (64 * 64 * 32)
# The longest side of a block, as a share of that of the cube.
BLOCK = 10
# Boxes that are painted, or left unpainted: at most so many; each after the first is there with this probability.
MOST_BOXES, MORE = 5, 0.95
# Sides of these boxes, as shares of those of the cube, and how far they stay from its border.
PAINTED, UNPAINTED, MARGIN = (1 / 6, 1 / 3), (3 / 7, 4 / 7), 3
# Two corners of a box: begin and end, for each axis.
Box = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class Deformations:
    """A view for `cubes.training_batches`: the deformed cube, and the cube as it was. Fields are probabilities; `outer`
    is that of painting the outside, if anything is painted, and not the inside."""

    flip: float = 0.4
    shuffle: float = 0.5
    bend: float = 0.9
    paint: float = 0.9
    outer: float = 0.8

    def __call__(
        self, rng: np.random.Generator, image: np.ndarray, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """image: (d, h, w) float32 in 0..1."""
        for _ in range(3):
            if rng.random() >= self.flip:
                break
            image = np.flip(image, int(rng.integers(3)))
        deformed = image
        if rng.random() < self.shuffle:
            deformed = shuffled(rng, deformed)
        if rng.random() < self.bend:
            deformed = bent(rng, deformed)
        if rng.random() < self.paint:
            paint = painted_outside if rng.random() < self.outer else painted_inside
            deformed = paint(rng, deformed)
        return deformed, image


def shuffled(rng: np.random.Generator, cube: np.ndarray, blocks: int | None = None) -> np.ndarray:
    """The cube with the voxels of small blocks permuted within each (local shuffling). What a block holds is read from
    the cube as it was; where blocks overlap, the last one counts.

    blocks: how many; by default so many that they hold `SHUFFLED` times as many voxels as the cube.
    """
    longest = [max(1, side // BLOCK) for side in cube.shape]
    mean = np.prod([(1 + side) / 2 for side in longest])
    blocks = max(1, round(SHUFFLED * cube.size / mean)) if blocks is None else blocks
    sides = rng.integers(1, np.add(longest, 1), (blocks, 3))
    corners = rng.integers(0, np.array(cube.shape) - sides + 1)
    flat, out = cube.ravel(), cube.copy().ravel()
    strides = np.array([cube.shape[1] * cube.shape[2], cube.shape[2], 1])
    # Blocks of one shape are permuted together, since a loop over thousands of blocks takes longer than the network.
    shapes, kinds = np.unique(sides, axis=0, return_inverse=True)
    for kind, shape in enumerate(shapes):
        inner = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3) @ strides
        places = (corners[kinds.ravel() == kind] @ strides)[:, None] + inner
        out[places] = flat[rng.permuted(places, axis=1)]
    return out.reshape(cube.shape)


def bent(rng: np.random.Generator, cube: np.ndarray) -> np.ndarray:
    """The cube with its values mapped by a random curve, rising or falling, from 0..1 to 0..1."""
    values, mapped = curve(*rng.random((2, 2)))
    if rng.random() < 0.5:
        mapped = 1 - mapped
    return np.interp(cube, values, mapped).astype(cube.dtype)


def curve(first: Sequence[float], second: Sequence[float], points: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """A cubic Bezier curve from (0, 0) to (1, 1), with these two control points in the unit square: x and y (points,),
    both of which rise from 0 to 1."""
    t = np.linspace(0, 1, points)
    return tuple(3 * t * (1 - t) ** 2 * a + 3 * t**2 * (1 - t) * b + t**3 for a, b in zip(first, second, strict=True))


def painted_inside(rng: np.random.Generator, cube: np.ndarray) -> np.ndarray:
    """The cube with noise in place of a few boxes (in-painting)."""
    out = cube.copy()
    for box in boxes(rng, cube.shape, PAINTED):
        out[box] = rng.random(out[box].shape, cube.dtype)
    return out


def painted_outside(rng: np.random.Generator, cube: np.ndarray) -> np.ndarray:
    """The cube with noise everywhere but in a few large boxes (out-painting)."""
    out = rng.random(cube.shape, cube.dtype)
    for box in boxes(rng, cube.shape, UNPAINTED):
        out[box] = cube[box]
    return out


def boxes(rng: np.random.Generator, shape: tuple[int, ...], shares: tuple[float, float]) -> list[Box]:
    """One to `MOST_BOXES` random boxes in a cube of this shape, whose sides are from `shares[0]` to `shares[1]` of the
    cube's, and which stay clear of its border where there is room."""
    found = []
    while not found or (len(found) < MOST_BOXES and rng.random() < MORE):
        box = []
        for side in shape:
            low, high = (max(1, round(share * side)) for share in shares)
            length = int(rng.integers(low, high + 1))
            margin = min(MARGIN, (side - length) // 2)
            begin = int(rng.integers(margin, side - length - margin + 1))
            box.append(slice(begin, begin + length))
        found.append(tuple(box))
    return found

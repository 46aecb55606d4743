"""Drawn volumes with exact labels: no download is needed to try what is trained on volumes.

A volume shows a bent body among others on an uneven, textured ground. Its front and its back are two classes that
differ in their texture; the other bodies are as bright but smooth, and background.
"""

import numpy as np
from scipy import ndimage

CLASSES = ("background", "front", "back")
# Voxels along each axis: the least, and one more than the most.
SIDES = ((22, 29), (30, 37), (22, 29))
DISTRACTORS = 4


def toy_volume(index: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Image (D, H, W) float32 in units of its own, as those of MRI are, and labels (D, H, W) uint8: always the same for
    one (seed, index)."""
    rng = np.random.default_rng((seed, index))
    shape = tuple(int(rng.integers(*side)) for side in SIDES)
    image = 0.3 + 0.12 * _texture(rng, shape, 3.0) + 0.1 * _texture(rng, shape, 10.0)
    for _ in range(DISTRACTORS):
        centre, radii = rng.uniform(0.1, 0.9, 3), rng.uniform(0.08, 0.16, 3)
        _blend(image, _ellipsoid(shape, centre, radii, bend=0.0), rng.uniform(0.5, 0.7))
    centre, radii = rng.uniform(0.42, 0.58, 3), rng.uniform((0.13, 0.28, 0.13), (0.2, 0.38, 0.2))
    body = _ellipsoid(shape, centre, radii, bend=rng.uniform(-0.5, 0.5))
    along = np.linspace(0, 1, shape[1])[None, :, None] - centre[1] + 0.05 * _texture(rng, shape, 4.0)
    front = (along > rng.uniform(-0.08, 0.08)) & (body < 1)
    labels = np.where(body < 1, np.where(front, 1, 2), 0).astype(np.uint8)
    fine, coarse = (0.55 + 0.13 * _texture(rng, shape, sigma) for sigma in (0.6, 1.6))
    _blend(image, body, np.where(front, fine, coarse))
    image += rng.normal(0, 0.05, shape)
    return (image * rng.uniform(50, 5000) + rng.uniform(0, 100)).astype(np.float32), labels


def _texture(rng, shape, sigma):
    """Smooth noise of mean 0 and deviation 1."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="reflect")
    return (noise - noise.mean()) / noise.std()


def _ellipsoid(shape, centre, radii, bend):
    """The distance of each voxel from the centre, 1 at the surface; `bend` lifts both ends along the last axis."""
    d, h, w = np.meshgrid(*[np.linspace(0, 1, side) for side in shape], indexing="ij", sparse=True)
    along = (h - centre[1]) / radii[1]
    lifted = w - centre[2] - bend * radii[2] * (along**2 - 0.5)
    return np.sqrt(((d - centre[0]) / radii[0]) ** 2 + along**2 + (lifted / radii[2]) ** 2)


def _blend(image, distance, values):
    """Draw `values` where the distance is below 1, with a soft border."""
    share = np.clip((1 - distance) * 6 + 0.5, 0, 1)
    image[...] = (1 - share) * image + share * values

"""The pooled features of two encoders, as studies of feature spaces take them."""

import numpy as np

from kerastransfer.analysis.material import Features
from kerastransfer.errors import UserError


def pooled(material: Features) -> dict[str, np.ndarray]:
    """{model: (N, D) float32} in memory. Raises UserError, naming the model, for features that are not finite or that
    are the same for all images."""
    return {name: usable(values, name) for name, values in material.pooled.items()}


def usable(values: np.ndarray, name: str) -> np.ndarray:
    """Features (N, D) as float32 in memory. Raises UserError as `pooled` does."""
    values = np.array(values, np.float32)
    broken = int((~np.isfinite(values).all(axis=1)).sum())
    if broken:
        raise UserError(
            f"the features of {name} are not finite for {broken} of {len(values)} images; its weights are broken, or "
            "it takes pixels of another range than 0..255: give another model"
        )
    if not len(values) or (values == values[0]).all():
        raise UserError(
            f"the features of {name} are the same for all {len(values)} images, so there is nothing to compare; its "
            "weights are broken, or its deepest tap is not one of features: give another model"
        )
    return values

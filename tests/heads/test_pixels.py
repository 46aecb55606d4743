"""Heads of segmenters."""

import numpy as np
import pytest

from kerastransfer.heads import pixels


@pytest.mark.parametrize(("build", "scale", "kernel"), [(pixels.transposed, 2, 2), (pixels.pointwise, 1, 1)])
def test_size_and_parameters(build, scale, kernel):
    head = build(32, 2)
    assert head.compute_output_shape({"pixels": (1, 24, 20, 32)}) == (1, 24 * scale, 20 * scale, 2)
    assert sum(int(np.prod(w.shape)) for w in head.trainable_weights) == kernel * kernel * 32 * 2 + 2

"""Heads of segmenters."""

import numpy as np
import pytest

from kerastransfer.heads import pixels


@pytest.mark.parametrize(("build", "scale", "kernel"), [(pixels.transposed, 2, 2), (pixels.pointwise, 1, 1)])
def test_size_and_parameters(build, scale, kernel):
    head = build(32, 2)
    assert head.compute_output_shape({"pixels": (1, 24, 20, 32)}) == (1, 24 * scale, 20 * scale, 2)
    assert sum(int(np.prod(w.shape)) for w in head.trainable_weights) == kernel * kernel * 32 * 2 + 2


def test_interpolation_is_bilinear_and_has_no_weights():
    """Against Pillow, which repeats the border as well."""
    from PIL import Image

    head = pixels.interpolated(5, 3, 16)
    assert [weight.shape for weight in head.weights] == [(1, 1, 5, 3), (3,)]
    assert 0.005 < np.std(head.weights[0]) < 0.02
    head.get_layer("coarse").bias.assign([1.0, 2.0, 3.0])
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    logits = np.array(head({"pixels": maps}))
    assert logits.shape == (2, 48, 64, 3)
    coarse = maps @ np.array(head.weights[0])[0, 0] + np.array(head.weights[1])
    for got, wanted in zip(
        np.moveaxis(logits, -1, 1).reshape(-1, 48, 64), np.moveaxis(coarse, -1, 1).reshape(-1, 3, 4), strict=True
    ):
        wanted = np.asarray(Image.fromarray(wanted).resize((64, 48), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_away_from_the_border_it_is_the_transposed_convolution_of_the_authors():
    """A kernel of twice the stride that falls off linearly, cropped by half a stride (Dai et al. 2017)."""
    scale, maps = 4, np.random.default_rng(1).normal(size=(6, 6)).astype("float32")
    ramp = 1 - np.abs((np.arange(2 * scale) + 0.5) / scale - 1)
    full = np.zeros((7 * scale, 7 * scale))
    for row in range(6):
        for column in range(6):
            full[row * scale : (row + 2) * scale, column * scale : (column + 2) * scale] += maps[
                row, column
            ] * np.outer(ramp, ramp)
    cropped = full[scale // 2 : -scale // 2, scale // 2 : -scale // 2]
    head = pixels.interpolated(1, 1, scale)
    head.get_layer("coarse").kernel.assign([[[[1.0]]]])
    logits = np.array(head({"pixels": maps[None, ..., None]}))[0, ..., 0]
    inner = slice(scale, -scale)
    np.testing.assert_allclose(logits[inner, inner], cropped[inner, inner], atol=1e-5)

"""Deformable convolution against torchvision's, values and gradients, and against cases worked out by hand."""

import harness
import numpy as np
import pytest
import torch_reference
from keras import ops

from kerastransfer.ops.deformable import deformable_conv

SIZE, DEPTH, FILTERS = (7, 9), 4, 5


def drawn(stride, groups, *, kernel=3, reach=4.0, seed=0):
    """x, kernel, offsets and mask; offsets of `reach` pixels lead far beyond the borders of the map."""
    random = np.random.default_rng(seed)
    rows, columns = (-(-side // stride) for side in SIZE)
    taps = groups * kernel * kernel
    return {
        "x": random.normal(size=(2, *SIZE, DEPTH)).astype("float32"),
        "kernel": random.normal(size=(kernel, kernel, DEPTH, FILTERS)).astype("float32"),
        "offsets": random.uniform(-reach, reach, (2, rows, columns, 2 * taps)).astype("float32"),
        "mask": random.uniform(0, 1, (2, rows, columns, taps)).astype("float32"),
    }


def ours(values, modulated, **options):
    given = {name: value for name, value in values.items() if modulated or name != "mask"}
    return deformable_conv(**given, **options)


CASES = [
    ({"stride": stride, "dilation": dilation, "modulated": modulated}, groups, kernel)
    for stride, dilation, groups, kernel in [
        (1, 1, 1, 3),
        (2, 1, 1, 3),
        (1, 2, 2, 3),
        (3, 2, 4, 3),
        (2, 1, 2, 5),
        (1, 1, 1, 1),
    ]
    for modulated in (False, True)
]


@pytest.fixture(scope="module")
def references():
    """torchvision's outputs and gradients of all cases."""
    cases = [(drawn(options["stride"], groups, kernel=kernel), options) for options, groups, kernel in CASES]
    return torch_reference.asked("many_deformable", cases)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)))
def test_values_and_gradients_are_those_of_torchvision(references, number):
    (options, groups, kernel), (expected, gradients) = CASES[number], references[number]

    def half(given):
        out = ours(given, **options, offset_groups=groups)
        return ops.sum(out**2) / 2, out

    values = drawn(options["stride"], groups, kernel=kernel)
    (_, out), got = harness.with_gradient(half)({name: ops.convert_to_tensor(v) for name, v in values.items()})
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert gradients.keys() == {"x", "kernel", "offsets"} | ({"mask"} if options["modulated"] else set())
    for name, gradient in gradients.items():
        np.testing.assert_allclose(got[name], gradient, atol=1e-5 * np.abs(gradient).max(), err_msg=name)


@pytest.mark.slow
def test_compiled_it_is_the_same():
    values = {name: ops.convert_to_tensor(value) for name, value in drawn(2, 2).items()}
    options = {"stride": 2, "offset_groups": 2}
    compiled = harness.compiled(lambda given: ours(given, True, **options))
    np.testing.assert_allclose(compiled(values), ours(values, True, **options), atol=1e-5)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_without_offsets_it_is_a_convolution(stride, dilation):
    """Times the modulation, which here is the same for all taps."""
    values = drawn(stride, 1, reach=0.0)
    side = dilation
    padded = np.pad(values["x"], ((0, 0), (side, side), (side, side), (0, 0)))
    plain = ops.conv(padded, values["kernel"], stride, "valid", dilation_rate=dilation)
    values["mask"][:] = 0.3
    got, half = (ours(values, modulated, stride=stride, dilation=dilation) for modulated in (False, True))
    np.testing.assert_allclose(got, plain, atol=1e-5)
    np.testing.assert_allclose(half, 0.3 * np.array(plain), atol=1e-5)


def test_a_ramp_shows_where_it_reads():
    """With a kernel of one tap the output is the map at (y + dy, x + dx): on a ramp 10 y + x, by hand."""
    rows, columns = np.mgrid[:4, :5]
    x = (10.0 * rows + columns).astype("float32")[None, ..., None]
    kernel = np.ones((1, 1, 1, 1), "float32")

    def read(dy, dx):
        offsets = np.broadcast_to(np.array([dy, dx], "float32"), (1, 4, 5, 2))
        return np.array(deformable_conv(x, kernel, offsets))[0, ..., 0]

    np.testing.assert_allclose(read(0.5, 0.25)[:3, :4], (x[0, ..., 0] + 5.25)[:3, :4], atol=1e-5)
    # Half of the last row is missing half a pixel below it, and all of it a pixel below.
    np.testing.assert_allclose(read(0.5, 0)[3], x[0, 3, :, 0] / 2, atol=1e-5)
    for beyond in (1.0, 1.5, 1e9):
        np.testing.assert_array_equal(read(beyond, 0)[3], 0)
        np.testing.assert_array_equal(read(0, -beyond)[:, 0], 0)

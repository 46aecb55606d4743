"""The 3-D U-Net of Models Genesis: its size, its parts, what is transferred; windows over whole volumes; its file."""

import keras
import numpy as np
import pytest

from kerastransfer.encoders.genesis import genesis_encoder
from kerastransfer.errors import UserError
from kerastransfer.models.genesis import genesis, genesis_segmenter
from kerastransfer.models.windows import labels_of, over_volume
from kerastransfer.training import transfer


def convolution(inputs, filters):
    """Weights of a 3 x 3 x 3 convolution with bias and of its batch normalization, statistics included."""
    return 27 * inputs * filters + filters + 4 * filters


def by_hand(width, depth, channels):
    """(encoder, whole) weights: level d has convolutions of width * 2 ** d and twice as many filters; a step of the
    decoder reads what came from below and the tap, and has two convolutions as wide as the tap."""
    encoder, last = 0, 1
    for level in range(depth):
        for filters in (width * 2**level, 2 * width * 2**level):
            encoder, last = encoder + convolution(last, filters), filters
    whole = encoder
    for level in reversed(range(depth - 1)):
        tap = 2 * width * 2**level
        whole, last = whole + convolution(last + tap, tap) + convolution(tap, tap), tap
    return encoder, whole + last * channels + channels


@pytest.mark.parametrize(("width", "depth"), [pytest.param(32, 4, marks=pytest.mark.slow), (4, 3), (3, 1)])
def test_weights_counted_by_hand(width, depth):
    encoder, whole = by_hand(width, depth, 1)
    assert genesis_encoder(width, depth).count_params() == encoder
    assert genesis(width=width, depth=depth).count_params() == whole
    assert genesis_segmenter(3, width=width, depth=depth).count_params() == by_hand(width, depth, 3)[1]
    if (width, depth) == (32, 4):
        assert (encoder, whole) == (7_030_656, 16_324_929)


def test_taps_are_of_the_second_convolution_and_halve():
    taps = genesis_encoder(4, 3)(np.zeros((1, 8, 12, 4, 1), "float32"))
    assert {name: tuple(tap.shape) for name, tap in taps.items()} == {
        "c1": (1, 8, 12, 4, 8),
        "c2": (1, 4, 6, 2, 16),
        "c3": (1, 2, 3, 1, 32),
    }


def test_shapes_and_range():
    volume = np.random.default_rng(0).random((2, 4, 8, 6, 1), "float32")
    restored = keras.ops.convert_to_numpy(genesis(width=2, depth=2)(volume))
    assert restored.shape == (2, 4, 8, 6, 1) and 0 < restored.min() < restored.max() < 1
    logits = keras.ops.convert_to_numpy(genesis_segmenter(3, width=2, depth=2)(volume))
    assert logits.shape == (2, 4, 8, 6, 3) and logits.min() < 0


@pytest.mark.parametrize("parts", [("encoder", "decoder"), ("encoder",)])
def test_scenarios_copy_their_parts_and_leave_the_others(parts):
    keras.utils.set_random_seed(1)
    source, target = genesis(width=2, depth=2), genesis_segmenter(3, width=2, depth=2)
    others = [part for part in ("encoder", "decoder", "head") if part not in parts]
    before = {part: transfer.checksum(target.get_layer(part)) for part in others}
    for part in parts:
        report = transfer.load(target.get_layer(part), source.get_layer(part))
        assert report["checksum"] == transfer.checksum(source.get_layer(part)) and not report["fresh"]
    assert before == {part: transfer.checksum(target.get_layer(part)) for part in others}
    if "decoder" in others:
        assert before["decoder"] != transfer.checksum(source.get_layer("decoder"))


def test_heads_are_not_confused():
    """With one class, both heads have one channel, but another activation."""
    with pytest.raises(UserError, match="does not fit 'head'"):
        transfer.load(
            genesis_segmenter(1, width=2, depth=1).get_layer("head"), genesis(width=2, depth=1).get_layer("head")
        )


def test_half_precision():
    """bfloat16 in between, float32 at the end."""
    volume = np.random.default_rng(0).random((2, 4, 8, 4, 1), "float32")
    single = genesis_segmenter(3, width=4, depth=2)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = genesis_segmenter(3, width=4, depth=2)
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(single.get_weights())
    wanted, found = single(volume), half(volume)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    allowed = 0.05 * float(np.abs(keras.ops.convert_to_numpy(wanted)).max())
    np.testing.assert_allclose(found, wanted, atol=allowed)


def test_windows_of_a_pointwise_network_give_it_everywhere():
    image = np.random.default_rng(0).random((9, 5, 14), "float32")
    found = over_volume(lambda cubes: np.concatenate([cubes, 2 * cubes], -1), image, (4, 8, 8))
    np.testing.assert_allclose(found, np.stack([image, 2 * image], -1), rtol=1e-6)


def test_windows_average_their_softmax():
    """A network that is surer in the first half of a cube: voxels that two windows see have the mean of both."""
    logits = np.zeros((1, 4, 1, 1, 2), "float32")
    logits[0, :2, ..., 1], logits[0, 2:, ..., 1] = 3.0, -0.5
    found = over_volume(lambda cubes: logits, np.zeros((6, 1, 1), "float32"), (4, 1, 1))[:, 0, 0, 1]
    np.testing.assert_allclose(found, [3, 3, 1.25, 1.25, -0.5, -0.5])
    labels = labels_of(lambda cubes: logits, np.zeros((6, 1, 1), "float32"), (4, 1, 1))[:, 0, 0]
    assert labels.tolist() == [1, 1, 1, 1, 0, 0] and labels.dtype == np.uint8

"""Strides and channels of any encoder."""

import keras
import pytest

from kerastransfer.encoders import ENCODERS, taps


def strided(shape):
    image = keras.Input(shape)
    half = keras.layers.Conv2D(3, 3, 2, padding="same")(image)
    eighth = keras.layers.MaxPooling2D(4)(half)
    return keras.Model(image, {"c3": eighth, "c1": half, "logits": keras.layers.Flatten()(image)}, name="strided")


@pytest.mark.parametrize("shape", [(None, None, 1), (64, 64, 1), (64, 72, 1), (64, None, 1), (50, 50, 1)])
def test_of_any_size(shape):
    """Flatten needs a known size only where it is read; it is not a tap."""
    if None in shape:
        image = keras.Input(shape)
        half = keras.layers.Conv2D(3, 3, 2, padding="same")(image)
        encoder = keras.Model(image, {"c3": keras.layers.MaxPooling2D(4)(half), "c1": half})
    else:
        encoder = strided(shape)
    assert taps.strides(encoder) == {"c3": 8, "c1": 2}
    assert taps.channels(encoder) == {"c3": 3, "c1": 3}
    assert list(taps.taps(encoder)) == ["c3", "c1"]


@pytest.mark.slow
def test_of_ours():
    assert taps.strides(ENCODERS["small"]()) == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 16}
    assert taps.channels(ENCODERS["small"]()) == {"c1": 32, "c2": 64, "c3": 128, "c4": 256, "c5": 512}


def test_the_name_by_which_it_is_found():
    encoder = strided((64, 64, 1))
    found = taps.named(encoder)
    assert found.name == "encoder" and list(found.output) == list(encoder.output) and found.layers == encoder.layers
    assert taps.named(found) is found

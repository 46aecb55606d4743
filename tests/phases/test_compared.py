"""Which studies two models make possible."""

import keras
import pytest

from kerastransfer.analysis.material import Detected
from kerastransfer.errors import UserError
from kerastransfer.phases import compared


@pytest.fixture(scope="module")
def encoder():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 3, 2, padding="same")(image)
    return keras.Model(image, {"c1": x, "c2": keras.layers.Conv2D(2, 3, 2, padding="same")(x)}, name="encoder")


def test_the_deepest_tap_is_studied_unless_another_is_given(encoder):
    assert compared.tapped("a", encoder, None) == "c2"
    assert compared.tapped("a", encoder, "c1") == "c1"
    with pytest.raises(UserError, match="--tap c4: the encoder a has c1, c2; choose one that both have"):
        compared.tapped("a", encoder, "c4")


def test_what_two_models_predict_is_compared_if_they_are_for_the_same_task(tmp_path):
    assert compared.kind(["yolov3-tiny", "yolov3"]) is Detected
    assert compared.kind(["yolov3-tiny", "mobilenet-v2"]) is None
    # An encoder has no description beside it.
    assert compared.kind([tmp_path / "encoder.keras", tmp_path / "other.keras"]) is None

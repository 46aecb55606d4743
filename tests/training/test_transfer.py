"""Loading is strict both ways, tells what it did, and changes nothing when it fails."""

import keras
import numpy as np
import pytest

from kerastransfer.encoders.yolov1 import yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.training import transfer

NARROW = (((4, 3, 2),), ((4, 3),), ((6, 3, 2),))


@pytest.fixture
def encoder():
    return yolov1_encoder(NARROW)


def randomised(part, seed=0):
    random = np.random.default_rng(seed)
    part.set_weights([random.normal(size=w.shape) for w in part.weights])
    return part


def refused(part, source, match, **options):
    """Loading fails in one line and leaves the part as it was."""
    before = transfer.checksum(part)
    with pytest.raises(UserError, match=match) as error:
        transfer.load(part, source, **options)
    assert "\n" not in str(error.value)
    assert transfer.checksum(part) == before


def test_round_trip_through_a_file(encoder, tmp_path):
    randomised(encoder)
    transfer.save(encoder, tmp_path / "encoder.npz")
    other = yolov1_encoder(NARROW)
    report = transfer.load(other, tmp_path / "encoder.npz")
    for ours, theirs in zip(other.get_weights(), encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert report["checksum"] == transfer.checksum(other) == transfer.checksum(encoder)
    assert report["copied"] == sorted(transfer.weights(encoder)) and report["fresh"] == []
    assert report["source"] == str(tmp_path / "encoder.npz")
    assert len(report["copied"]) == len(encoder.weights) == 15


def test_names_are_layer_and_variable(encoder):
    names = {"kernel": "conv", "gamma": "bn", "beta": "bn", "moving_mean": "bn", "moving_variance": "bn"}
    wanted = {f"c{i}_1_{layer}/{variable}" for i in (1, 2, 3) for variable, layer in names.items()}
    assert set(transfer.weights(encoder)) == wanted


def test_checksum_changes_with_any_weight_and_with_nothing_else(encoder):
    before = transfer.checksum(encoder)
    encoder(np.ones((1, 8, 8, 3), "float32"))
    encoder.trainable = False
    assert transfer.checksum(encoder) == before == transfer.checksum_of(transfer.weights(encoder))
    seen = {before}
    for weight in encoder.weights:
        value = weight.numpy()
        value.flat[0] = np.nextafter(value.flat[0], np.float32(9))
        weight.assign(value)
        seen.add(transfer.checksum(encoder))
    assert len(seen) == 1 + len(encoder.weights)


def test_checksum_knows_swapped_weights(encoder):
    values = transfer.weights(encoder)
    before = transfer.checksum_of(values)
    one, other = "c1_1_bn/gamma", "c1_1_bn/beta"
    values[one], values[other] = values[other], values[one]
    assert transfer.checksum_of(values) != before
    assert transfer.checksum_of(dict(reversed(transfer.weights(encoder).items()))) == before


def test_a_longer_encoders_weights_are_refused(encoder):
    longer = transfer.weights(yolov1_encoder((*NARROW, ((8, 3),))))
    refused(encoder, longer, r"lacks nothing and has unknown c4_1_bn/beta.* and 1 more")
    refused(yolov1_encoder((*NARROW, ((8, 3),))), transfer.weights(encoder), r"lacks c4_1_bn/beta.*has unknown nothing")


def test_other_widths_are_refused(encoder):
    wider = transfer.weights(yolov1_encoder((((4, 3, 2),), ((5, 3),), ((6, 3, 2),))))
    refused(encoder, wider, r"shapes differ, c2_1_bn/beta \(5,\) for \(4,\)")


def test_fresh_layers_are_named_and_stay(encoder):
    source = {k: v + 1 for k, v in transfer.weights(encoder).items() if not k.startswith("c3_1_")}
    refused(encoder, source, "lacks c3_1_bn")
    refused(encoder, source, "lacks c3_1_bn", fresh=["c3_1_conv"])
    before = transfer.weights(encoder)
    report = transfer.load(encoder, source, fresh=["c3_1_conv", "c3_1_bn"])
    assert report["fresh"] == sorted(k for k in before if k.startswith("c3_1_"))
    assert report["copied"] == sorted(source)
    for name, value in transfer.weights(encoder).items():
        np.testing.assert_array_equal(value, source.get(name, before[name]))


def test_fresh_layers_must_be_missing_in_the_source(encoder):
    refused(encoder, transfer.weights(encoder), "has unknown c3_1_conv/kernel", fresh=["c3_1_conv"])


def test_a_missing_file(encoder, tmp_path):
    refused(encoder, tmp_path / "encoder.npz", "there is no such file")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(encoder, tmp_path, share):
    path = tmp_path / "encoder.npz"
    transfer.save(encoder, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(encoder, path, "not a whole file")


def test_damaged_bytes_never_give_a_traceback(encoder, tmp_path):
    path = tmp_path / "encoder.npz"
    transfer.save(encoder, path)
    whole, random, failures = path.read_bytes(), np.random.default_rng(0), 0
    wanted = transfer.checksum(encoder)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            transfer.load(encoder, path)
        except UserError as error:
            failures += 1
            assert "\n" not in str(error)
        assert transfer.checksum(encoder) == wanted  # nothing, or bytes that nobody reads, such as a date
    assert failures > 50


@pytest.mark.parametrize("content", [b"", b"no archive", "array"], ids=["empty", "text", "npy"])
def test_a_file_of_another_kind(encoder, tmp_path, content):
    path = tmp_path / "encoder.npz"
    if content == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    refused(encoder, path, "no .npz archive")


def test_pickled_objects_are_not_opened(encoder, tmp_path):
    np.savez(tmp_path / "encoder.npz", **{"c1_1_conv/kernel": np.array([{}], object)})
    refused(encoder, tmp_path / "encoder.npz", "not a whole file")


def test_random_states_are_no_weights():
    x = keras.Input((4,))
    part = keras.Model(x, keras.layers.Dropout(0.5)(keras.layers.Dense(2, name="dense")(x)), name="part")
    assert set(transfer.weights(part)) == {"dense/kernel", "dense/bias"}


def test_two_layers_of_one_name_are_refused():
    """In nested parts Keras allows it; one would silently stand for both."""
    x = keras.Input((4,))
    parts = [keras.Model(y := keras.Input((4,)), keras.layers.Dense(4, name="dense")(y), name=name) for name in "ab"]
    whole = keras.Model(x, parts[1](parts[0](x)), name="whole")
    with pytest.raises(ValueError, match="two weights called dense/kernel"):
        transfer.weights(whole)

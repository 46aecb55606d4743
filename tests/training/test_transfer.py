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
    refused(encoder, tmp_path / "encoder.npz", "no such file")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(encoder, tmp_path, share):
    path = tmp_path / "encoder.npz"
    transfer.save(encoder, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(encoder, path, "the file is damaged")


@pytest.mark.slow
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
    refused(encoder, path, "not an .npz archive")


def test_pickled_objects_are_not_opened(encoder, tmp_path):
    np.savez(tmp_path / "encoder.npz", **{"c1_1_conv/kernel": np.array([{}], object)})
    refused(encoder, tmp_path / "encoder.npz", "the file is damaged")


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


def small(activation="leaky_relu", strides=2, dilation=1, added=True, name="small"):
    """Convolutions and batch norm of equal names and shapes, whatever they compute; a part within the part."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(3, 3, strides, padding="same", dilation_rate=dilation, name="one")(image)
    x = y = keras.layers.Activation(activation)(keras.layers.BatchNormalization(name="bn")(x))
    inner = keras.Input((None, None, 3))
    x = keras.Model(inner, keras.layers.ReLU()(keras.layers.Conv2D(3, 1, name="two")(inner)))(x)
    x = keras.layers.Add()([x, y] if added else [x, x])
    return randomised(keras.Model(image, x, name=name))


OTHERS = {
    "activation": ({"activation": "relu6"}, "activation of layer activation.* is relu6 where leaky_relu is needed"),
    "strides": ({"strides": 1}, r"strides of layer one is \[1, 1\] where \[2, 2\] is needed"),
    "dilation": ({"dilation": 2, "strides": 1}, "layer one is"),
    "wiring": ({"added": False}, "layer add.* reads other layers than add.* should"),
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("form", ["file", "model"])
def test_another_architecture_of_equal_weights_is_refused(case, form, tmp_path):
    """Its features would be others, and nobody would know."""
    options, words = OTHERS[case]
    other = small(**options)
    source = other
    if form == "file":
        source = tmp_path / "other.npz"
        transfer.save(other, source)
    refused(small(), source, f"although its weights would: .*{words}")
    transfer.load(small(**options, name="another"), source)
    assert not transfer.same_architecture(small(), other)


def test_layers_of_another_kind_are_refused():
    """As in the encoders of yolov3-tiny: LeakyReLU where ReLU(6) is needed."""
    ours, theirs = yolov1_encoder(NARROW, activation="relu6"), yolov1_encoder(NARROW, activation="leaky")
    assert transfer.weights(ours).keys() == transfer.weights(theirs).keys()
    refused(
        ours, theirs, "the model 'encoder' does not fit 'encoder', although its weights would: .* where .* is needed"
    )


def test_what_may_differ_is_named():
    dense = small(strides=1)
    assert not transfer.same_architecture(dense, small())
    assert transfer.same_architecture(dense, small(), but=["strides"])
    transfer.load(dense, small(), but=["strides"])
    refused(dense, small(activation="relu6"), "is relu6", but=["strides"])


def test_a_part_itself_is_a_source(encoder):
    source = randomised(yolov1_encoder(NARROW), 3)
    report = transfer.load(encoder, source)
    assert report["source"] == "the model 'encoder'" and report["checksum"] == transfer.checksum(source)
    longer = yolov1_encoder((*NARROW, ((8, 3),)))
    refused(encoder, longer, r"lacks nothing and has unknown c4_1_bn/beta")


def test_names_sizes_precision_and_freezing_are_no_architecture():
    other = small(name="other")
    other.trainable = False
    other.get_layer("bn").momentum = 0.5
    assert transfer.same_architecture(small(), other)

    def scaled(shape, factor, dtype="float32"):
        image = keras.Input(shape)
        return keras.Model(image, keras.layers.Rescaling(factor, dtype=dtype)(image))

    assert transfer.same_architecture(scaled((8, 8, 3), 2.0), scaled((None, None, 3), 2.0, "bfloat16"))
    assert not transfer.same_architecture(scaled((8, 8, 3), 2.0), scaled((8, 8, 3), 3.0))
    assert not transfer.same_architecture(scaled((8, 8, 3), 2.0), scaled((8, 8, 1), 2.0))


def test_fresh_layers_may_be_of_another_architecture():
    """Around what is copied; what is copied must be the same."""
    source = small(activation="relu6")
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(3, 3, 2, padding="same", name="one")(image)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Conv2D(3, 1, name="two")(x)
    part = keras.Model(image, keras.layers.Conv2D(5, 1, name="head")(x), name="part")
    report = transfer.load(part, source, fresh=["head"])
    assert report["fresh"] == ["head/bias", "head/kernel"] and len(report["copied"]) == 8
    refused(part, small(strides=1), "strides of layer one", fresh=["head"])


def test_a_file_of_version_0_1_has_no_architecture(encoder, tmp_path):
    np.savez(tmp_path / "old.npz", **transfer.weights(randomised(yolov1_encoder(NARROW))))
    assert len(transfer.load(encoder, tmp_path / "old.npz")["copied"]) == 15


def test_the_architecture_in_a_file_is_no_weight(encoder, tmp_path):
    transfer.save(encoder, tmp_path / "encoder.npz")
    assert transfer.read(tmp_path / "encoder.npz").keys() == transfer.weights(encoder).keys()
    np.savez(tmp_path / "bad.npz", **transfer.weights(encoder), **{transfer.ARCHITECTURE: np.zeros(3, "uint8")})
    refused(encoder, tmp_path / "bad.npz", "the file is damaged .its architecture")


@pytest.mark.slow
def test_an_encoder_of_keras_applications_is_itself():
    build = keras.applications.MobileNetV2
    ours, theirs = (build(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None) for _ in range(2))
    assert transfer.same_architecture(ours, theirs)
    report = transfer.load(ours, theirs)
    assert report["checksum"] == transfer.checksum(theirs)

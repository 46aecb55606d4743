"""Feeding parts by name, and the two kinds of freezing, proved by training."""

import keras
import numpy as np
import pytest

from kerastransfer.encoders.yolov1 import POOL, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.export.loading import load_keras, write_keras
from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.losses.pixels import pixel_loss
from kerastransfer.models.parts import batch_norms, feed, freeze, freeze_norms, thaw
from kerastransfer.models.yolo_segnet import yolo_segnet
from kerastransfer.models.yolo_unet import yolo_unet
from kerastransfer.training.terms import TermModel
from kerastransfer.training.transfer import checksum, weights

NARROW = (((4, 3, 2),), ((4, 3), POOL), ((6, 3, 2),))


def part():
    """5 a - b: an order that shows when maps are swapped."""
    inputs = {name: keras.Input((None, None, 1), name=name) for name in ("b", "a")}
    return keras.Model(inputs, 5 * inputs["a"] - inputs["b"], name="part")


def test_feed_binds_by_name_and_leaves_the_rest():
    maps = {name: np.full((1, 2, 2, 1), value, "float32") for name, value in zip("xabz", (100, 3, 2, 7), strict=True)}
    for order in ("xabz", "zbax", "ab"):
        np.testing.assert_array_equal(feed(part(), {name: maps[name] for name in order}), np.full((1, 2, 2, 1), 13))


def test_feed_refuses_a_missing_map():
    with pytest.raises(KeyError, match="b"):
        feed(part(), {"a": np.zeros((1, 2, 2, 1), "float32")})


def trained(kind, build=yolo_unet, steps=3):
    """Train a segmenter on a frozen encoder: its parts' weights before and after."""
    keras.utils.set_random_seed(0)
    encoder = yolov1_encoder(NARROW)
    if kind:
        freeze(encoder, kind)
    network = build(encoder, 2)
    parts = [network.get_layer(name) for name in ("encoder", "decoder", "head")]
    before = [weights(p) for p in parts]
    model = TermModel(network, pixel_loss, {"cross_entropy": 1.0, "dice": 1.0})
    model.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.1), jit_compile=False)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 16, 16, 3)).astype("float32")
    model.fit(images, {"segmentation": (images[..., 0] > 128).astype("uint8")}, batch_size=4, epochs=steps, verbose=0)
    return before, [weights(p) for p in parts]


def moved(before, after):
    """Names of the variables that changed, by part: encoder, decoder, head."""
    return [{k for k in b if not np.array_equal(b[k], a[k])} for b, a in zip(before, after, strict=True)]


STATISTICS = ("moving_mean", "moving_variance")


@pytest.mark.slow
@pytest.mark.parametrize("build", [yolo_segnet, yolo_unet])
def test_full_freeze_keeps_every_bit_of_the_encoder(build):
    before, after = trained("full", build)
    encoder, decoder, head = moved(before, after)
    assert not encoder
    assert decoder == set(before[1]) and head == set(before[2])


@pytest.mark.slow
def test_freezing_the_weights_lets_statistics_drift():
    before, after = trained("weights")
    encoder, decoder, head = moved(before, after)
    assert encoder == {name for name in before[0] if name.endswith(STATISTICS)} and encoder
    assert decoder == set(before[1]) and head == set(before[2])


@pytest.mark.slow
def test_without_freezing_everything_moves():
    before, after = trained(None)
    assert moved(before, after) == [set(b) for b in before]


def test_a_drifting_encoder_can_be_frozen_fully_later():
    encoder = yolov1_encoder(NARROW)
    freeze(encoder, "weights")
    freeze(encoder, "full")
    norms = [layer for layer in encoder.layers if isinstance(layer, BatchNorm)]
    assert len(norms) == 3 and not any(layer.drift or layer.trainable for layer in norms)
    before = checksum(encoder)
    encoder(np.full((2, 16, 16, 3), 200, "float32"), training=True)
    assert checksum(encoder) == before


def test_unknown_kind_of_freezing():
    with pytest.raises(ValueError, match="give 'full' or 'weights'"):
        freeze(yolov1_encoder(NARROW), "half")


def mobilenet(name="mobilenet"):
    """An encoder of keras.applications: flat, with Keras's own batch norm."""
    keras.utils.set_random_seed(0)
    build = keras.applications.MobileNetV2
    return build(input_shape=(None, None, 3), alpha=0.35, include_top=False, weights=None, name=name)


def nested(inner=None):
    """A part within a part within a part, as the backbones of keras-hub."""
    inner = yolov1_encoder(NARROW, name="inner") if inner is None else inner
    for name in ("middle", "outer"):
        image = keras.Input((None, None, 3))
        inner = keras.Model(image, inner(image), name=name)
    return inner


IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("float32")


@pytest.mark.parametrize("build", [mobilenet, nested, lambda: nested(mobilenet())], ids=["flat", "nested", "both"])
@pytest.mark.slow
def test_a_full_freeze_at_any_depth(build):
    """No bit moves in training, and the part computes what it does in inference."""
    part = build()
    freeze(part)
    before = checksum(part)
    trained, inference = (part(IMAGES, training=training) for training in (True, False))
    for ours, theirs in zip(keras.tree.flatten(trained), keras.tree.flatten(inference), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert checksum(part) == before and not part.trainable_variables


def test_statistics_drift_at_any_depth():
    part = nested()
    freeze(part, "weights")
    before = weights(part)
    part(IMAGES, training=True)
    (moved_names,) = moved([before], [weights(part)])
    assert moved_names == {name for name in before if name.endswith(STATISTICS)} and len(moved_names) == 6
    freeze(part, "full")
    before = checksum(part)
    part(IMAGES, training=True)
    assert checksum(part) == before


@pytest.mark.parametrize("build", [mobilenet, lambda: nested(mobilenet())], ids=["flat", "nested"])
def test_keras_own_batch_norm_cannot_drift(build):
    """It would be frozen fully, in silence."""
    part = build()
    with pytest.raises(UserError, match=r"52 layers of '.*' \(.*[Cc]onv.*, ...\) are keras.layers.BatchNormalization"):
        freeze(part, "weights")
    assert part.trainable


def trained_on_random_targets(part):
    """The weights of a part, by name, before and after a training step of all its maps."""
    before = weights(part)
    targets = {name: np.random.default_rng(1).normal(size=maps.shape) for name, maps in part(IMAGES).items()}
    part.compile(keras.optimizers.SGD(1.0), loss="mse", run_eagerly=True)
    part.train_on_batch(IMAGES, targets)
    return before, weights(part)


def of_norms(names):
    return {name for name in names if name.endswith(("gamma", "beta", *STATISTICS))}


def test_frozen_norms_stay_while_kernels_learn(tmp_path):
    """Also in a model that comes back from a file; and `thaw` undoes it."""
    encoder = yolov1_encoder(NARROW)
    freeze(encoder, "weights")
    thaw(encoder)
    freeze_norms(encoder)
    for turn in range(2):
        before, after = trained_on_random_targets(encoder)
        (moved_names,) = moved([before], [after])
        assert moved_names == set(before) - of_norms(before) and len(of_norms(before)) == 12, turn
        write_keras(encoder, tmp_path / "encoder.keras")
        encoder = load_keras(tmp_path / "encoder.keras")
    thaw(encoder)
    (moved_names,) = moved([*trained_on_random_targets(encoder)[:1]], [weights(encoder)])
    assert moved_names == set(before)


@pytest.mark.parametrize("build", [mobilenet, nested, lambda: nested(mobilenet())], ids=["flat", "nested", "both"])
@pytest.mark.slow
def test_norms_are_frozen_at_any_depth(build):
    part = build()
    freeze_norms(part)
    before = weights(part)
    trained, inference = (part(IMAGES, training=training) for training in (True, False))
    for ours, theirs in zip(keras.tree.flatten(trained), keras.tree.flatten(inference), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert moved([before], [weights(part)]) == [set()]
    frozen = {id(variable) for layer in batch_norms(part) for variable in layer.variables}
    assert {id(variable) for variable in part.variables} - frozen == set(map(id, part.trainable_variables))


def test_norms_frozen_last_do_not_drift():
    encoder = yolov1_encoder(NARROW)
    freeze(encoder, "weights")
    freeze_norms(encoder)
    assert not any(layer.drift or layer.trainable for layer in batch_norms(encoder))


def test_statistics_of_a_thawed_part_follow():
    """MobileNetV2 of keras.applications has a momentum of 0.999: after 90 steps its classifier gave wrong classes."""
    slow, quick = (keras.layers.BatchNormalization(momentum=momentum) for momentum in (0.999, 0.5))
    image = keras.Input((2, 2, 3))
    part = keras.Sequential([keras.Model(image, slow(image), name="inner"), quick])
    thaw(part)
    assert quick.momentum == 0.5
    for _ in range(40):
        part(np.full((4, 2, 2, 3), 5, "float32"), training=True)
    np.testing.assert_allclose(slow.moving_mean, np.full(3, 5 * (1 - 0.9**40)), rtol=1e-5)

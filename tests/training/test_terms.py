"""Training on named terms: what is reported, weighted, averaged; that a step compiles, in half precision too."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import POOL, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.losses.yolov1 import WEIGHTS, yolov1_loss
from kerastransfer.models.yolov1 import yolov1
from kerastransfer.training.terms import TermModel

TENSORFLOW = keras.backend.backend() == "tensorflow"
NARROW = (((4, 3, 2),), (POOL,), (POOL,), (POOL,), ((8, 3),))  # few layers, because a step is compiled


def line():
    """y = w x + b from w = 2, b = 0."""
    x = keras.Input((1,))
    network = keras.Model(x, keras.layers.Dense(1, name="dense")(x), name="line")
    network.get_layer("dense").set_weights([np.array([[2.0]]), np.array([0.0])])
    return network


def distances(targets, predictions):
    """(B,) each: the square of the distance to "near", and the distance from "far"."""
    return {
        "square": ops.square(predictions[:, 0] - targets["near"]),
        "absolute": ops.abs(predictions[:, 0] - targets["far"]),
    }


X, NEAR, FAR = (
    np.array([[1.0], [2.0], [4.0]], "float32"),
    np.array([1, 1, 1], "float32"),
    np.array([0, 9, 0], "float32"),
)
TARGETS = {"near": NEAR, "far": FAR}


def test_terms_are_reported_and_the_loss_is_their_weighted_mean():
    """Predictions 2, 4, 8: squares 1, 9, 49, distances 2, 5, 8."""
    model = TermModel(line(), distances, {"square": 0.5, "absolute": 2.0})
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    found = model.train_on_batch(X, TARGETS, return_dict=True)
    assert found == pytest.approx({"square": 59 / 3, "absolute": 5, "loss": 0.5 * 59 / 3 + 2 * 5}, rel=1e-5)
    model.reset_metrics()
    assert model.evaluate(X, TARGETS, verbose=0, return_dict=True, batch_size=2) == pytest.approx(found, rel=1e-5)


@pytest.mark.skipif(not TENSORFLOW, reason="JAX traces a step as often as its arguments change")
def test_a_step_is_traced_once():
    """The optimizer's variables exist before, or TensorFlow would trace it once more: half of the time to start."""
    traced = []

    def counted(targets, predictions):
        traced.append(tf.executing_eagerly())
        return distances(targets, predictions)

    model = TermModel(line(), counted, {"square": 0.5, "absolute": 2.0})
    model.compile(keras.optimizers.Adam(0.1))
    model.fit(X, TARGETS, epochs=2, verbose=0)
    assert traced == [False]


def test_one_step_of_gradient_descent_by_hand():
    """d/dw of 0.5 mean((w x - 1)^2) at w = 2 is mean((2 x - 1) x) = (1 + 6 + 28) / 3."""
    network = line()
    model = TermModel(network, distances, {"square": 0.5, "absolute": 0.0})
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.train_on_batch(X, TARGETS)
    w, b = network.get_layer("dense").get_weights()
    np.testing.assert_allclose([w[0, 0], b[0]], [2 - 0.1 * 35 / 3, 0 - 0.1 * (1 + 3 + 7) / 3], rtol=1e-5)


@pytest.mark.parametrize("weights", [{"square": 1.0}, {"square": 1.0, "absolute": 1.0, "sqare": 1.0}])
def test_terms_and_weights_must_agree(weights):
    model = TermModel(line(), distances, weights)
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=r"the terms are \['absolute', 'square'\] but the weights"):
        model.train_on_batch(X, TARGETS)


def late(step):
    """0 in the first two steps, then the number of the step."""
    return ops.where(step < 2, 0.0, ops.cast(step, "float32"))


@pytest.mark.slow
def test_a_weight_is_a_function_of_the_step():
    """The predictions stay 2, 4, 8: the mean distance from "far" is 5."""
    model = TermModel(line(), distances, {"square": 0.0, "absolute": late})
    model.compile(keras.optimizers.SGD(0.0), jit_compile=not TENSORFLOW)
    found = []
    for step in range(5):
        model.reset_metrics()
        found.append(float(model.train_on_batch(X, TARGETS, return_dict=True)["loss"]))
        evaluated = model.evaluate(X, TARGETS, verbose=0, return_dict=True)["loss"]
        assert evaluated == pytest.approx(5 * float(late(step + 1)), rel=1e-5)  # as the next step will be
    assert found == pytest.approx([0, 0, 10, 15, 20], rel=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_no_gradient_comes_from_a_term_whose_weight_is_still_zero(compiled):
    network = line()
    model = TermModel(network, distances, {"square": late, "absolute": 0.0})
    model.compile(keras.optimizers.SGD(0.01), jit_compile=compiled or not TENSORFLOW)
    before = network.get_weights()
    for _ in range(2):
        model.train_on_batch(X, TARGETS)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(network.get_weights(), before, strict=True))
    model.train_on_batch(X, TARGETS)
    w, b = network.get_layer("dense").get_weights()  # 2 d/dw mean((w x - 1)^2) = 4 (1 + 6 + 28) / 3
    np.testing.assert_allclose([w[0, 0], b[0]], [2 - 0.04 * 35 / 3, -0.04 * 11 / 3], rtol=1e-5)


def over_positives(targets, predictions):
    """A sum of squares over `positive` places, of which the images have different numbers."""
    square = ops.square(predictions[:, 0] - targets["near"]) * targets["positive"]
    return {"square": (square, targets["positive"]), "absolute": ops.abs(predictions[:, 0])}


def test_a_pair_is_divided_over_the_whole_batch():
    """(1 * 1 + 9 * 0 + 49 * 3) / (1 + 0 + 3), and not the mean over images of what each has; its gradient in w is
    2 (1 * 1 + 3 * 7 * 4) / 4, and none flows through the counts."""
    network = line()
    model = TermModel(network, over_positives, {"square": 0.5, "absolute": 0.0})
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=TENSORFLOW)
    targets = {"near": NEAR, "positive": np.array([1, 0, 3], "float32")}
    found = model.train_on_batch(X, targets, return_dict=True)
    assert {k: float(v) for k, v in found.items()} == pytest.approx(
        {"square": 148 / 4, "absolute": 14 / 3, "loss": 0.5 * 148 / 4}, rel=1e-5
    )
    w, _ = network.get_layer("dense").get_weights()
    np.testing.assert_allclose(w[0, 0], 2 - 0.1 * 0.5 * 2 * (1 + 3 * 7 * 4) / 4, rtol=1e-5)


def test_a_pair_without_any_count_is_the_sum():
    def terms(targets, predictions):
        return {"square": (ops.square(predictions[:, 0]), ops.zeros_like(targets["near"]))}

    model = TermModel(line(), terms, {"square": 1.0})
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=TENSORFLOW)
    assert float(model.train_on_batch(X, {"near": NEAR}, return_dict=True)["loss"]) == pytest.approx(4 + 16 + 64)


def test_images_of_weight_zero_only_fill_a_batch():
    """Batches of two, of which the last has one image and one that fills: all means are over three images."""
    model = TermModel(line(), distances, {"square": 0.5, "absolute": 2.0})
    model.compile(keras.optimizers.SGD(0.0), jit_compile=not TENSORFLOW)
    filled = [np.concatenate([values, [9 * values[0]]]) for values in (X, NEAR, FAR)]
    data = filled[0], {"near": filled[1], "far": filled[2]}, np.array([1, 1, 1, 0], "float32")
    batches = tf.data.Dataset.from_tensor_slices(data).batch(2)
    found = model.evaluate(batches, verbose=0, return_dict=True)
    assert found == pytest.approx({"square": 59 / 3, "absolute": 5, "loss": 0.5 * 59 / 3 + 2 * 5}, rel=1e-5)


def test_images_of_weight_zero_count_nothing_in_a_pair():
    model = TermModel(line(), over_positives, {"square": 1.0, "absolute": 0.0})
    model.compile(keras.optimizers.SGD(0.0), jit_compile=not TENSORFLOW)
    targets = {"near": NEAR, "positive": np.array([1, 2, 3], "float32")}
    batches = tf.data.Dataset.from_tensors((X, targets, np.array([1, 1, 0], "float32")))
    found = model.evaluate(batches, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx((1 * 1 + 2 * 9) / 3, rel=1e-5)


@pytest.mark.slow
def test_fit_with_targets_by_name():
    model = TermModel(line(), distances, {"square": 1.0, "absolute": 0.0})
    model.compile(keras.optimizers.Adam(0.1))
    history = model.fit(X, TARGETS, epochs=6, verbose=0, validation_data=(X, TARGETS)).history
    assert set(history) == {name for n in ("loss", "square", "absolute") for name in (n, f"val_{n}")}
    assert history["loss"] == sorted(history["loss"], reverse=True)
    np.testing.assert_allclose(history["loss"], history["square"], rtol=1e-5)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_boxes_keep_their_precision_in_half_precision(precision):
    """A network that reads boxes (proposals, mask branch) gets them in float32: bfloat16 has 8 bits, so that at 320
    pixels a corner would be off by up to 0.6 pixels. Its convolutions still compute in half precision."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        inputs = {"image": keras.Input((4, 4, 3), name="image"), "boxes": keras.Input((2, 4), name="boxes")}
        conv = keras.layers.Conv2D(1, 3, name="conv")
        features = conv(inputs["image"])
        boxes = keras.layers.Identity(dtype="float32", name="same")(inputs["boxes"])
        network = keras.Model(inputs, {"features": features, "boxes": boxes}, name="network")
        model = TermModel(network, lambda y, out: {"none": ops.sum(out["boxes"], (1, 2))}, {"none": 1.0})
    finally:
        keras.mixed_precision.set_global_policy(before)
    boxes = np.random.default_rng(0).random((3, 2, 4), "float32")
    found = model({"image": np.ones((3, 4, 4, 3), "float32"), "boxes": boxes})
    np.testing.assert_array_equal(ops.convert_to_numpy(found["boxes"]), boxes)
    assert conv.compute_dtype == precision.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(found["features"].dtype) == precision.removeprefix("mixed_")


def detector(precision="float32"):
    """A narrow detector, its terms, and a batch: two images of 32 x 32, one without objects."""
    keras.utils.set_random_seed(1)
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        codec = YoloV1Codec(num_classes=2, sizes="root", score="product")
        network = yolov1(yolov1_encoder(NARROW), codec)
        model = TermModel(network, yolov1_loss(codec, "darknet"), WEIGHTS)
    finally:
        keras.mixed_precision.set_global_policy(before)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    boxes = np.array([[[0.1, 0.1, 0.6, 0.5], [0.5, 0.6, 1, 1]], [[0, 0, 0, 0]] * 2], "float32")
    return model, images, {"boxes": boxes, "labels": np.array([[1, 0], [-1, -1]], "int32")}


def losses(model, images, targets, steps=5, **options):
    model.compile(keras.optimizers.Adam(3e-3), **options)
    return [float(model.train_on_batch(images, targets, return_dict=True)["loss"]) for _ in range(steps)]


@pytest.mark.slow
def test_a_detector_learns_a_batch_in_place():
    model, images, targets = detector()
    before = [ops.convert_to_numpy(w).copy() for w in model.network.trainable_weights]
    found = losses(model, images, targets, jit_compile=not TENSORFLOW)
    assert np.isfinite(found).all() and found[-1] < found[0]
    after = [ops.convert_to_numpy(w) for w in model.network.trainable_weights]
    assert all(np.any(ours != theirs) for ours, theirs in zip(after, before, strict=True))
    np.testing.assert_array_equal(ops.convert_to_numpy(model(images)), ops.convert_to_numpy(model.network(images)))


@pytest.mark.slow
@pytest.mark.skipif(not TENSORFLOW, reason="JAX has compiled it in the test before")
def test_a_compiled_training_step_equals_an_uncompiled_one():
    found = [losses(*detector(), steps=3, jit_compile=compiled) for compiled in (False, True)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not TENSORFLOW, reason="runs train on TensorFlow; JAX takes long to compile it")
@pytest.mark.parametrize(("precision", "compiled"), [("mixed_bfloat16", False), ("mixed_float16", True)])
def test_a_step_in_half_precision(precision, compiled):
    model, images, targets = detector(precision)
    found = losses(model, images, targets, steps=12, jit_compile=compiled)  # the first go to find the loss's scale
    assert np.isfinite(found).all() and found[-1] < found[0]
    predictions = model(images)
    assert keras.backend.standardize_dtype(predictions.dtype) == "float32"
    assert {w.dtype for w in model.network.weights} == {"float32"}
    assert model.network.get_layer("encoder").get_layer("c5_1_leaky").compute_dtype == precision.removeprefix("mixed_")


def test_what_is_saved_is_the_network(tmp_path):
    network = line()
    other = keras.Model(network.input, network.get_layer("dense")(network.input) * 2, name="other")
    for name, model, expected in (
        ("a", TermModel(network, distances, {}), network),
        ("b", TermModel(network, distances, {}, kept=lambda: other), other),
    ):
        model.save(tmp_path / f"{name}.keras")
        found = keras.saving.load_model(tmp_path / f"{name}.keras")
        np.testing.assert_array_equal(found(X), expected(X))


def test_a_loss_of_keras_is_refused():
    model = TermModel(line(), distances, {"square": 0.5, "absolute": 2.0})
    with pytest.raises(UserError, match="compile it with only an optimizer"):
        model.compile("adam", loss="mse")

import keras
import numpy as np
import pytest
from keras import layers

from kerastransfer.export import graph, portable, tflite
from kerastransfer.ops.nms import greedy

IMAGE = np.random.default_rng(0).uniform(0, 1, (2, 5, 6, 3)).astype(np.float32)


def transposed(**options):
    image = keras.Input((None, None, 3), name="image")
    inner = keras.Model(image, {"up": layers.Conv2DTranspose(4, name="up", **options)(image)}, name="decoder")
    return keras.Model(image, {"output": inner(image)["up"]})


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2, "strides": 2, "bias_initializer": "random_normal"},
        {"kernel_size": 2, "strides": 2, "padding": "same", "use_bias": False, "activation": "relu"},
        {"kernel_size": 3, "strides": 3},
    ],
)
def test_blocks_compute_the_transposed_convolution(options):
    model = transposed(**options)
    copy = portable.with_blocks(model)
    assert type(copy.get_layer("decoder").get_layer("up")) is portable.BlockConv2DTranspose
    np.testing.assert_allclose(copy(IMAGE)["output"], model(IMAGE)["output"], atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "strides": 2, "padding": "same"},
        {"kernel_size": 2, "strides": 1},
        {"kernel_size": (2, 4), "strides": (2, 4)},
        {"kernel_size": 2, "strides": 2, "output_padding": 1},
    ],
)
def test_other_transposed_convolutions_stay(options):
    model = transposed(**options)
    assert portable.with_blocks(model) is model


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "epsilon": 1e-5}])
@pytest.mark.parametrize("tap", [False, True])
@pytest.mark.slow
def test_batch_norms_are_folded(options, tap):
    image = keras.Input((5, 6, 3), name="image")
    x = layers.Conv2DTranspose(4, 2, 2, name="up", bias_initializer="random_normal")(image)
    y = layers.BatchNormalization(name="norm", **options)(x)
    inner = keras.Model(image, {"normed": layers.ReLU()(y)} | ({"raw": x} if tap else {}), name="decoder")
    model = keras.Model(image, {"output": layers.Conv2D(2, 1)(inner(image)["normed"])})
    norm = inner.get_layer("norm")
    random = np.random.default_rng(0)
    norm.set_weights([random.uniform(0.5, 2, weight.shape) for weight in norm.get_weights()])
    copy = portable.with_blocks(model)
    np.testing.assert_allclose(copy(IMAGE)["output"], model(IMAGE)["output"], atol=1e-5)
    folded = copy.get_layer("decoder").get_layer("norm")
    assert np.all(np.asarray(folded.moving_mean) == 0) != tap, "a tap before the batch norm must keep its values"
    assert ({"MUL", "ADD"} <= set(graph.operators(tflite.convert(model, (5, 6))))) == tap


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_becomes_float32_with_the_same_weights(policy):
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, dtype=policy)(layers.Rescaling(1 / 255, dtype=policy)(image))
    inner = keras.Model(image, {"c1": layers.BatchNormalization(dtype=policy)(x)}, name="encoder")
    x = layers.Conv2D(2, 1, dtype=policy)(inner(image)["c1"])
    model = keras.Model(image, {"output": layers.Softmax(dtype="float32")(x)})
    copy = portable.in_float32(model)
    assert {layer.compute_dtype for layer in (*copy.layers, *copy.get_layer("encoder").layers)} == {"float32"}
    assert [w.path for w in copy.weights] == [w.path for w in model.weights]
    for new, old in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert model.get_layer("encoder").layers[-1].compute_dtype == policy.removeprefix("mixed_")


def test_float32_is_not_copied():
    model = transposed(kernel_size=2, strides=2)
    assert portable.in_float32(model) is model


@pytest.mark.slow
def test_the_devices_own_suppression_is_ours():
    """For one class and for so many that they fill more than a row of the grid that keeps them apart."""
    random = np.random.default_rng(4)
    limits = {"iou_threshold": 0.4, "score_threshold": 0.3, "max_detections": 30}
    for classes in (1, 40):
        corner = random.uniform(0, 0.3, (1, 1500, 2))
        boxes = np.concatenate([corner, corner + random.uniform(0.3, 0.6, (1, 1500, 2))], -1).astype("float32")
        scores = random.uniform(size=(1, 1500, classes)).astype("float32")
        pairs, expected = (
            np.asarray(choose(boxes, scores, **limits)) for choose in (portable.NativeSuppress.choose, greedy)
        )
        np.testing.assert_array_equal(pairs, expected)
        assert ((pairs >= 0).sum() == 30) == (classes == 40) and (pairs >= 0).sum() > 1


@pytest.mark.slow
def test_every_suppression_is_changed_in_a_copy(instance_network, drawn):
    copy = portable.with_native_suppression(instance_network)
    assert type(copy.get_layer("suppress")) is portable.NativeSuppress
    assert type(instance_network.get_layer("suppress")) is not portable.NativeSuppress
    assert portable.with_native_suppression(copy) is copy
    image = drawn[0][None, :64, :64].astype("float32")
    image = np.concatenate([image, image[:, :, :32]], axis=2)
    expected, got = instance_network(image), copy(image)
    assert int(expected["count"][0]) > 0
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=1e-6)

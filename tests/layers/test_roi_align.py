"""RoIAlign as a layer: its methods, in a stored model, in half precision, in a LiteRT file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from keras import ops

from kerastransfer.export import graph, tflite
from kerastransfer.layers.roi_align import RoIAlign
from kerastransfer.ops.roi_align import roi_align

SIZE, DEPTH = (9, 12), 3
BUILTIN = set(vars(schema.BuiltinOperator)) - {"CUSTOM"}


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(-0.5, 1, (2, *SIZE, DEPTH)).astype("float32")


@pytest.fixture
def boxes():
    """Inside, partly and wholly outside, inside out, and padding."""
    boxes = np.random.default_rng(1).uniform(-0.4, 1.4, (2, 40, 4)).astype("float32")
    boxes[:, -1] = 0
    return boxes


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("sampling_ratio", [1, 2, 3])
@pytest.mark.parametrize("size", [4, (2, 3), 1])
def test_crop_and_resize_gives_what_matrices_give(features, boxes, size, sampling_ratio, reduce):
    options = {"sampling_ratio": sampling_ratio, "reduce": reduce}
    matrices, other = (RoIAlign(size, method=method, **options) for method in ("matrices", "crop_and_resize"))
    got, expected = other(features, boxes), matrices(features, boxes)
    assert got.shape == expected.shape == matrices.compute_output_shape(features.shape, boxes.shape)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    gradients = []
    for layer in (matrices, other):
        values = tf.constant(features)
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(layer(values, boxes) ** 2)
        gradients.append(tape.gradient(total, values))
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-3)


def test_crop_and_resize_as_it_comes_is_not_roi_align():
    """Values worked out by hand: stretched from corner to corner, and half a pixel off."""
    features = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
    naive = tf.image.crop_and_resize(features, [[0.25, 0.25, 0.5, 0.5]], [0], (4, 4))[0, ..., 0]
    np.testing.assert_allclose(naive[0], [6, 6 + 1 / 3, 6 + 2 / 3, 7], atol=1e-5)
    for method in ("matrices", "crop_and_resize"):
        got = RoIAlign(4, sampling_ratio=1, method=method)(features, np.array([[[0.2, 0.2, 0.6, 0.6]]], "float32"))
        np.testing.assert_allclose(got[0, 0, ..., 0][0], [4.5, 5, 5.5, 6], atol=1e-5)


def test_options_that_crop_and_resize_lacks_are_refused():
    for options in ({"aligned": False}, {"sampling_ratio": 0}):
        with pytest.raises(ValueError, match="use the method 'matrices'"):
            RoIAlign(2, method="crop_and_resize", **options)
    with pytest.raises(ValueError, match="'gather'"):
        RoIAlign(2, method="gather")
    with pytest.raises(ValueError, match="'sum'"):
        RoIAlign(2, reduce="sum")


@pytest.fixture
def taken(monkeypatch):
    """A list of the calls of crop_and_resize."""
    calls, original = [], tf.image.crop_and_resize

    def counted(*args, **options):
        calls.append(args)
        return original(*args, **options)

    monkeypatch.setattr(tf.image, "crop_and_resize", counted)
    return calls


def training_steps(side, *, jit=False, eager=False, method="auto", dtype="float32", **options):
    """The loss of two steps that train a convolution before a RoIAlign of maps of side x side."""
    keras.utils.set_random_seed(0)
    inputs = [keras.Input((None, None, DEPTH)), keras.Input((None, 4))]
    values = keras.layers.Conv2D(2, 1, dtype=dtype)(inputs[0])
    layer = RoIAlign(2, method=method, dtype=dtype, **options)
    model = keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(layer(values, inputs[1])))
    model.compile("sgd", "mse", jit_compile=jit, run_eagerly=eager)
    random = np.random.default_rng(0)
    given = [random.normal(0, 1, (1, side, side, DEPTH)).astype("float32"), random.uniform(0, 1, (1, 5, 4))]
    wanted = np.ones((1, 5, 2, 2, 2), "float32")
    return [float(model.train_on_batch(given, wanted)) for _ in range(2)]


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="on GPUs auto takes the matrices")
def test_auto_takes_crop_and_resize_for_large_maps_in_float32(taken):
    losses = training_steps(40)
    assert taken
    np.testing.assert_allclose(losses, training_steps(40, method="matrices"), rtol=1e-5)
    assert losses[1] < losses[0]


@pytest.mark.parametrize(
    ("side", "options"),
    [
        (39, {}),
        (40, {"jit": True}),
        (40, {"eager": True}),
        (40, {"dtype": "mixed_bfloat16"}),
        (40, {"aligned": False}),
        (40, {"reduce": "max"}),
    ],
    ids=["small", "XLA", "eager", "bfloat16", "not aligned", "max"],
)
def test_auto_takes_matrices(taken, side, options):
    training_steps(side, **options)
    assert not taken


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_not_finite_is_nan_and_stops_nothing(features, boxes, value):
    boxes[0, 3, 1] = value
    found = RoIAlign(2, method="crop_and_resize")(features, boxes).numpy()
    assert np.isnan(found[0, 3]).all()
    found[0, 3], boxes[0, 3] = 0, 0
    expected = RoIAlign(2, method="matrices")(features, boxes).numpy()
    expected[0, 3] = 0
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_auto_is_exported_as_matrices(taken):
    image = keras.Input((48, 48, DEPTH), name="image")
    boxes = ops.convert_to_tensor([[[0.1, 0.2, 0.7, 0.9]]])
    model = keras.Model(image, {"pooled": RoIAlign(3)(image, boxes + ops.zeros_like(image[:, :1, 0, :1]))})
    assert set(graph.operators(tflite.convert(model, (48, 48)))) <= BUILTIN
    model.predict(np.zeros((1, 48, 48, DEPTH), "float32"), verbose=0)
    assert not taken


@pytest.mark.parametrize("method", ["matrices", "crop_and_resize"])
def test_stored_with_a_model_of_any_size(features, boxes, tmp_path, method):
    layer = RoIAlign((2, 3), sampling_ratio=3, reduce="max", method=method, name="align")
    inputs = [keras.Input((None, None, DEPTH)), keras.Input((None, 4))]
    model = keras.Model(inputs, layer(*inputs))
    assert model.output_shape == (None, None, 2, 3, DEPTH)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("align").get_config() == layer.get_config()
    given = [features, boxes]
    np.testing.assert_allclose(loaded(given), layer(features, boxes), atol=1e-6)
    np.testing.assert_allclose(loaded.predict(given, verbose=0), layer(features, boxes), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("method", ["matrices", "crop_and_resize"])
def test_half_precision_moves_no_box(dtype, method):
    """On a map of 512 columns that holds their numbers in float16's reach; a box in bfloat16 would be off by pixels."""
    columns = np.broadcast_to(np.arange(512, dtype="float32")[:, None] / 512, (1, 4, 512, 1))
    boxes = np.array([[[0, 0.9013, 1, 0.9087]]], "float32")
    layer = RoIAlign(2, method=method, dtype=f"mixed_{dtype}")
    out = layer(columns, boxes)
    assert out.dtype == dtype
    expected = RoIAlign(2)(columns, boxes)
    np.testing.assert_allclose(tf.cast(out, "float32"), expected, rtol={"float16": 1e-3, "bfloat16": 8e-3}[dtype])
    inputs = [keras.Input((4, 512, 1)), keras.Input((1, 4))]
    np.testing.assert_array_equal(keras.Model(inputs, layer(*inputs))([columns, boxes]), out)


@pytest.mark.slow
def test_a_litert_file_of_builtin_operators(features, boxes):
    """Boxes as a head predicts them, inside the graph; the file gives what the layer gives, whatever its options."""
    from ai_edge_litert.interpreter import Interpreter

    own = boxes[:1, :6]
    options = {
        "plain": {},
        "max": {"reduce": "max"},
        "adaptive": {"sampling_ratio": 0},
        "adaptive_max": {"sampling_ratio": 0, "reduce": "max"},
        "older": {"aligned": False},
    }
    image = keras.Input((*SIZE, DEPTH), name="image")
    shift = ops.reshape(ops.mean(image, axis=(1, 2, 3)) * 0.01, (-1, 1, 1))
    placed = ops.convert_to_tensor(own) + shift
    model = keras.Model(image, {name: RoIAlign(4, **option)(image, placed) for name, option in options.items()})
    content = tflite.convert(model, SIZE)
    found = set(graph.operators(content))
    assert "BATCH_MATMUL" in found and found <= BUILTIN
    assert found.isdisjoint({"GATHER", "GATHER_ND", "TRANSPOSE"}), "features are multiplied where they lie"
    got = Interpreter(model_content=content).get_signature_runner()(image=features[:1])
    moved = own + 0.01 * features[0].mean()
    for name, option in options.items():
        expected = roi_align(ops.convert_to_tensor(features[:1]), ops.convert_to_tensor(moved), 4, **option)
        np.testing.assert_allclose(got[name], expected, atol=1e-4, err_msg=name)

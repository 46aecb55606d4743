"""The layer of deformable convolution against torchvision's and Keras's own, and in a LiteRT file."""

import keras
import numpy as np
import pytest
import torch_reference

from kerastransfer.layers.deformable import DeformableConv2D

X = np.random.default_rng(0).normal(size=(2, 7, 9, 4)).astype("float32")


def moved(layer, size=0.3):
    """The layer with offsets and factors of some size."""
    layer.build(X.shape)
    random = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(random.normal(0, size, weight.shape))
    return layer


CASES = [
    ({"stride": stride, "dilation": dilation, "modulated": modulated}, groups)
    for stride, dilation, groups in [(1, 1, 1), (2, 1, 2), (1, 2, 1)]
    for modulated in (False, True)
]


@pytest.mark.slow
def test_weights_fit_pytorch():
    """A convolution that finds the offsets, and torchvision's operator on them."""
    layers = [moved(DeformableConv2D(5, 3, **options, offset_groups=groups)) for options, groups in CASES]
    weights = [[np.array(value) for value in (*layer.offset.weights, layer.weight, layer.bias)] for layer in layers]
    cases = [(X, own, options) for own, (options, _) in zip(weights, CASES, strict=True)]
    references = torch_reference.asked("many_offset_layers", cases)
    for layer, (expected, largest_offset) in zip(layers, references, strict=True):
        assert largest_offset > 3
        np.testing.assert_allclose(layer(X), expected, atol=1e-4)


@pytest.mark.parametrize(("modulated", "share"), [(False, 1.0), (True, 0.5)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 3)])
def test_it_begins_as_a_convolution(modulated, share, stride, dilation):
    layer = DeformableConv2D(5, 3, stride, dilation=dilation, modulated=modulated, use_bias=False)
    plain = keras.Sequential(
        [
            keras.layers.ZeroPadding2D(dilation),
            keras.layers.Conv2D(5, 3, stride, dilation_rate=dilation, use_bias=False),
        ]
    )
    got, _ = layer(X), plain(X)
    plain.set_weights([layer.weight])
    np.testing.assert_allclose(got, share * np.array(plain(X)), atol=1e-5)
    assert got.shape == layer.compute_output_shape(X.shape)


def test_offsets_learn_from_zero():
    """Their first gradient is not zero, although all their weights are."""
    layer = DeformableConv2D(2, 3)
    model = keras.Sequential([keras.Input((7, 9, 4)), layer])
    model.compile(keras.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
    model.train_on_batch(X, np.ones((2, 7, 9, 2), "float32"))
    kernel = np.array(layer.offset.kernel)
    assert all(np.abs(kernel[..., channel]).max() > 0 for channel in range(27))


def test_what_is_refused():
    with pytest.raises(ValueError, match="kernel 2: only an odd kernel has a middle"):
        DeformableConv2D(4, 2)
    with pytest.raises(ValueError, match="4 channels cannot be split into 3 offset_groups"):
        DeformableConv2D(4, 3, offset_groups=3)(X)


@pytest.mark.slow
@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(("kind", "largest"), [("float32", 1e-4), ("float16", 0.02), ("int8", 0.2)])
def test_a_file_for_devices_has_builtin_operators_alone(modulated, kind, largest, tmp_path):
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    from kerastransfer.export import graph, tflite

    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    for stride in (2, 1):
        layer = DeformableConv2D(6, 3, stride, modulated=modulated, offset_groups=3, name=f"deformable{stride}")
        x = layer(x)
        random = np.random.default_rng(stride)
        for weight in layer.weights:
            weight.assign(random.normal(0, 0.5, weight.shape))
    model = keras.Model(image, {"maps": x})
    pixels = [random.integers(0, 256, (16, 24, 3), "uint8") for _ in range(8)]
    content = tflite.convert(model, (16, 24), kind, pixels)
    path = tmp_path / "deformable.tflite"
    path.write_bytes(content)
    assert set(graph.operators(path)) <= set(vars(schema.BuiltinOperator)) - {"CUSTOM"}

    interpreter = Interpreter(model_path=str(path))
    given = pixels[0][None]
    (got,) = interpreter.get_signature_runner()(image=given if kind == "int8" else given.astype("float32")).values()
    expected = np.array(model(given.astype("float32"))["maps"])
    np.testing.assert_allclose(got, expected, atol=largest * np.abs(expected).max())

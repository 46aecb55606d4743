import keras
import numpy as np
import pytest
import torch_reference

from kerastransfer.encoders.labelenc import labelenc
from kerastransfer.errors import UserError


def test_parameters_and_shapes_of_the_paper():
    """Stage by stage (table 8)."""
    model = labelenc(80)
    assert model.count_params() == 9_910_272
    stages = {"stem": 501_888, "s4_": 94_592, "s8_": 656_896, "s16_": 2_624_512, "s32_": 6_032_384}
    for prefix, count in stages.items():
        assert sum(layer.count_params() for layer in model.layers if layer.name.startswith(prefix)) == count, prefix
    shapes = model.compute_output_shape((1, 256, 256, 80))
    assert shapes == {"c2": (1, 64, 64, 256), "c3": (1, 32, 32, 512), "c4": (1, 16, 16, 1024), "c5": (1, 8, 8, 2048)}
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len([layer for layer in convolutions if not layer.name.endswith("shortcut")]) == 19
    assert all(layer.use_bias != layer.name.endswith("shortcut") for layer in convolutions)


def test_start_of_the_weights():
    """Of the stem and of biases to 1 / sqrt(inputs), of the kernels of bottlenecks to sqrt(3 / inputs)."""
    keras.utils.set_random_seed(0)
    model = labelenc(8)
    kernel, bias = model.get_layer("stem").get_weights()
    assert 0.98 < np.abs(kernel).max() * np.sqrt(49 * 8) <= 1 and np.abs(bias).max() * np.sqrt(49 * 8) <= 1
    kernel, bias = model.get_layer("s8_1_2").get_weights()
    assert 0.98 < np.abs(kernel).max() * np.sqrt(9 * 128 / 3) <= 1 and 0.5 < np.abs(bias).max() * np.sqrt(9 * 128) <= 1


def test_the_maps_of_another_encoder():
    model = labelenc(3, {"c4": (8, 20), "c5": (64, 24)})
    assert model.compute_output_shape((2, 128, 64, 3)) == {"c4": (2, 16, 8, 20), "c5": (2, 2, 1, 24)}
    assert all(np.asarray(one).any() for one in model(np.ones((1, 128, 64, 3), "float32")).values())


@pytest.mark.parametrize("stages", [{"c1": (2, 8), "c3": (8, 9)}, {"c4": (16, 8), "c5": (16, 8)}])
def test_stages_that_it_does_not_have(stages):
    with pytest.raises(
        UserError, match=r"one map of each of the strides 4, 8, 16, 32, 64; the detector reads c\d of st"
    ):
        labelenc(2, stages)


def test_it_computes_what_pytorch_does():
    keras.utils.set_random_seed(0)
    model = labelenc(2, {"c2": (4, 8), "c3": (8, 12), "c4": (16, 16), "c5": (32, 20)})
    label_map = np.random.default_rng(0).uniform(size=(1, 64, 96, 2)).astype("float32")
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    expected = torch_reference.asked("label_encoder", weights, label_map)
    for found, value in zip(model(label_map).values(), expected, strict=True):
        np.testing.assert_allclose(np.asarray(found), value, rtol=1e-4, atol=1e-4)

"""What the benchmarks' tables rest on: counted multiply-adds, and a net in PyTorch that is the one in Keras."""

import sys
from pathlib import Path

import numpy as np
import pytest

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import YOLOV1, yolov1_encoder
from kerastransfer.layers import LocallyConnected
from kerastransfer.models.predictor import candidates, probabilities
from kerastransfer.models.yolo_segnet import yolo_segnet
from kerastransfer.models.yolo_unet import yolo_unet
from kerastransfer.models.yolov1 import yolov1

SIZE = (64, 96)
NARROW = (((4, 3, 2),), ((6, 7, 2), ((4, 1), (6, 3))), ((6, 3), "pool"), ((8, 3, 2),), ((8, 3), ((4, 1), (8, 3))))


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    yield
    for name in ("graph", "torch_graph", "rounds", "machine", "roi_align"):
        sys.modules.pop(name, None)


def count(model, *size):
    from graph import flatten, multiply_adds

    return multiply_adds(flatten(model, (1, *size, 3)).steps)


def test_multiply_adds_of_yolov1():
    """spec/01, section 1: 20.21 GMAC at 448 with Darknet's head; section 6: 60.14 million per pixel without strides."""
    head = 49 * 9 * 1024 * 256 + 12544 * 1715
    assert round((count(yolov1_encoder(YOLOV1), 448, 448) + head) / 1e9, 2) == 20.21
    assert count(yolov1_encoder(YOLOV1, strides=[1] * 6), 64, 64) == 60_142_784 * 64 * 64


def test_multiply_adds_by_layer():
    import keras
    from keras import layers

    image = keras.Input((8, 6, 3))
    x = layers.Conv2D(5, 3, strides=2, padding="same")(image)  # 4 x 3
    x = layers.Conv2DTranspose(7, 2, 2)(x)  # 8 x 6
    x = LocallyConnected(2, 3)(x)
    x = layers.Dense(11)(layers.Flatten()(layers.ReLU()(x)))
    expected = 4 * 3 * 9 * 3 * 5 + 4 * 3 * 4 * 5 * 7 + 8 * 6 * 9 * 7 * 2 + 8 * 6 * 2 * 11
    assert count(keras.Model(image, x), 8, 6) == expected
    with pytest.raises(ValueError, match="SeparableConv2D"):
        count(keras.Model(image, layers.SeparableConv2D(4, 3)(image)), 8, 6)


def nets():
    for score, boxes, sizes in (("product", 1, "root"), ("confidence", 2, "cell"), ("product", 3, "image")):
        codec = YoloV1Codec(3, boxes, sizes=sizes, score=score)
        encoder = yolov1_encoder(NARROW, activation="relu6")
        yield score, candidates(yolov1(encoder, codec, activation="relu6"), codec, SIZE)
    yield "segnet", probabilities(yolo_segnet(yolov1_encoder(NARROW), 3), SIZE)
    yield "unet", probabilities(yolo_unet(yolov1_encoder(NARROW), 3), SIZE)


def test_the_same_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install kerastransfer[benchmark]")
    from graph import flatten
    from torch_graph import Network

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, *SIZE, 3)).astype("float32")
    for name, model in nets():
        for variable in model.weights:  # batch statistics too
            if "seed" not in variable.path:
                variable.assign(variable + rng.uniform(0, 0.3, variable.shape))
        network = Network(flatten(model, image.shape))
        with torch.inference_mode():
            given = network(torch.from_numpy(image).permute(0, 3, 1, 2))
        for output, value in zip(network.names, given, strict=True):
            value = value.permute(0, 2, 3, 1) if value.ndim == 4 else value
            np.testing.assert_allclose(value, model(image)[output], atol=1e-4, err_msg=f"{name}, {output}")


def test_dense_layers_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install kerastransfer[benchmark]")
    from graph import flatten
    from torch_graph import Network

    codec = YoloV1Codec(3, 2)
    model = yolov1(yolov1_encoder(NARROW), codec, head="paper_fc", grid=4, hidden=10)
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    with torch.inference_mode():
        (given,) = Network(flatten(model, image.shape))(torch.from_numpy(image).permute(0, 3, 1, 2))
    np.testing.assert_allclose(given.permute(0, 2, 3, 1), model(image), atol=1e-4)


@pytest.mark.parametrize("backward", [False, True])
def test_ways_to_align_are_the_same(backward):
    import tensorflow as tf
    from roi_align import CONTESTANTS, drawn, step

    features, boxes = (tf.constant(values) for values in drawn((11, 9, 4), 1 if backward else 6))  # one loses nothing
    first, *others = (step(name, 5, 2, backward=backward)(features, boxes) for name in CONTESTANTS)
    assert first.shape == (features.shape if backward else (1, 6, 5, 5, 4))
    assert np.ptp(first) > 0.5
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-4)

"""The detector, and the graph for prediction around it."""

import keras
import numpy as np
import pytest

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import POOL, yolov1_encoder
from kerastransfer.models.predictor import candidates, predictor
from kerastransfer.models.yolov1 import yolov1

NARROW = (((4, 3, 2),), ((4, 3), POOL), ((6, 3, 2),), ((8, 3, 2),), ((8, 3),))  # stride 16

BOXES = np.array([[0.05, 0.1, 0.35, 0.5], [0.5, 0.5, 0.9, 0.7], [0.3, 0.6, 0.6, 1.0]], "float32")
LABELS = np.array([2, 0, 1], "int32")


def told(codec, grid):
    """A "detector" that gives the targets of BOXES whatever it sees; the other half of each object's cell is noise."""
    targets = {k: np.array(v) for k, v in codec.encode(BOXES[None], LABELS[None], grid).items()}
    box = np.concatenate([0.9 * targets["state"][..., None], targets["boxes"]], -1)
    rest = np.concatenate([0.2 * targets["state"][..., None], targets["boxes"] + 0.1], -1)
    answer = np.concatenate([targets["classes"], rest, box], -1).astype("float32")
    image = keras.Input((None, None, 3), name="image")
    repeated = keras.layers.Lambda(
        lambda pixels: keras.ops.zeros_like(pixels[:, :1, :1, :1]) + answer, output_shape=answer.shape[1:]
    )
    return keras.Model(image, repeated(image), name="told")


@pytest.mark.parametrize("score", ["confidence", "product"])
@pytest.mark.parametrize("sizes", ["cell", "image", "root"])
def test_predictor_finds_what_was_encoded(sizes, score):
    codec = YoloV1Codec(num_classes=3, sizes=sizes, score=score)
    model = predictor(told(codec, (5, 7)), codec, score_threshold=0.5, max_detections=6)
    found = {name: np.array(value) for name, value in model(np.zeros((2, 40, 56, 3), "float32")).items()}
    assert found["count"].tolist() == [3, 3]
    for image in range(2):
        order = np.argsort(found["labels"][image, :3])
        np.testing.assert_array_equal(found["labels"][image, :3][order], [0, 1, 2])
        np.testing.assert_allclose(found["boxes"][image, :3][order], BOXES[[1, 2, 0]], atol=1e-5)
        np.testing.assert_allclose(found["scores"][image, :3], 0.9, atol=1e-6)
        assert found["labels"][image, 3:].tolist() == [-1] * 3 and not found["boxes"][image, 3:].any()


def test_reach_is_put_together_by_suppression():
    """Several cells own each object; one detection of each remains."""
    codec = YoloV1Codec(num_classes=3, sizes="root", score="product", reach=0.5)
    found = predictor(told(codec, (8, 8)), codec, score_threshold=0.5)(np.zeros((1, 8, 8, 3), "float32"))
    assert int(found["count"][0]) == 3 and found["boxes"].shape == (1, 100, 4)


@pytest.mark.parametrize(
    ("head", "options", "layout"),
    [
        ("fully_conv", {}, "cells"),
        ("paper_fc", {"grid": 3, "hidden": 8}, "cells"),
        ("darknet_local", {"grid": 3, "hidden": 4}, "darknet"),
    ],
)
@pytest.mark.slow
def test_every_head_detects_and_is_stored(head, options, layout, tmp_path):
    codec = YoloV1Codec(num_classes=3, layout=layout, score="product")
    image = keras.Input((48, 48, 3)) if options else None
    encoder = yolov1_encoder(NARROW)
    if image is not None:  # these heads need a fixed size
        encoder = keras.Model(image, encoder(image), name="encoder")
    model = predictor(yolov1(encoder, codec, head=head, **options), codec, max_detections=5)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3)).astype("float32")
    found = model(pixels)
    assert {k: tuple(v.shape) for k, v in found.items()} == {
        "boxes": (2, 5, 4),
        "scores": (2, 5),
        "labels": (2, 5),
        "count": (2,),
    }
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")(pixels)
    for name, value in found.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_parts_have_their_names():
    model = yolov1(yolov1_encoder(NARROW), YoloV1Codec(num_classes=1))
    encoder, decoder, head = (model.get_layer(part) for part in ("encoder", "decoder", "head"))
    assert set(decoder.output) == set(head.input) <= set(encoder.output) and not decoder.weights
    tap = np.random.default_rng(0).normal(size=(1, 2, 3, 8)).astype("float32")
    np.testing.assert_array_equal(decoder({"c5": tap})["c5"], tap)
    assert model.compute_output_shape((2, 64, 96, 3)) == (2, 4, 6, 11)


def test_candidates_are_what_is_exported():
    codec = YoloV1Codec(num_classes=3, score="product")
    detector = yolov1(yolov1_encoder(NARROW), codec)
    graph = candidates(detector, codec, (32, 48))
    assert graph.input_shape == (None, 32, 48, 3)
    out = graph(np.zeros((1, 32, 48, 3), "float32"))
    assert out["boxes"].shape == (1, 2 * 3 * 2, 4) and out["scores"].shape == (1, 2 * 3 * 2, 3)

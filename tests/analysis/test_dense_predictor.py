"""Tiles come to the same as the whole; maps lie where the pixels are; the files do as Keras does."""

import numpy as np
import pytest

from kerastransfer.analysis.dense_predictor import DensePredictor
from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import POOL, yolov1_encoder
from kerastransfer.export import graph, tflite
from kerastransfer.export.predictor import Predictor
from kerastransfer.models.dense import Vote, dense, yolo_dense
from kerastransfer.models.predictor import probabilities
from kerastransfer.models.yolov1 import yolov1
from kerastransfer.tasks import metadata
from kerastransfer.tasks.about import About

STAGES = (((3, 3, 2),), ((4, 3), POOL), (((2, 1), (4, 3)),), ((5, 3),), ((6, 1),))  # total stride 4
SIZE = (64, 48)


@pytest.fixture(scope="module")
def detector():
    random = np.random.default_rng(0)
    model = yolov1(yolov1_encoder(STAGES), YoloV1Codec(1, 1, sizes="image", score="product"), hidden=(5, 4))
    for weight in model.weights:
        weight.assign(random.normal(0, 0.5, weight.shape) + (1 if "gamma" in weight.path else 0))
        if "variance" in weight.path:
            weight.assign(np.abs(weight) + 0.5)
    return model


def predictor(detector, output_stride, dilate=True, tile=0):
    codec = YoloV1Codec(1, 1, sizes="image", score="product")
    network = dense(detector, output_stride, dilate=dilate)
    return DensePredictor(network, Vote(codec, output_stride, 4, SIZE), tile)


@pytest.mark.parametrize(
    ("output_stride", "dilate"),
    [
        pytest.param(1, True, marks=pytest.mark.slow),
        (2, True),
        pytest.param(4, True, marks=pytest.mark.slow),
        (1, False),
    ],
)
@pytest.mark.parametrize("size", [(64, 48), (71, 90)])
@pytest.mark.slow
def test_tiles_equal_the_whole(detector, output_stride, dilate, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype("uint8")
    whole = predictor(detector, output_stride, dilate).predictions(image)
    if output_stride == 1:
        assert whole.shape[:2] == size
    for tile in (13, 32):
        tiled = predictor(detector, output_stride, dilate, tile).predictions(image)
        np.testing.assert_allclose(tiled, whole, atol=1e-4)


@pytest.mark.slow
def test_progress_sees_every_tile(detector):
    seen = []
    image = np.zeros((*SIZE, 3), "uint8")
    predictor(detector, 4, tile=16).maps(image, lambda tiles: (seen.append(tile) or tile for tile in tiles))
    assert len(seen) == 4 * 3


def test_maps_lie_where_the_pixels_are(detector):
    """A location's objectness is that of the middle of its cell."""
    dense_predictor = predictor(detector, 2)
    image = np.random.default_rng(2).integers(0, 256, (*SIZE, 3)).astype("uint8")
    maps = dense_predictor.maps(image)
    assert maps.objectness.shape == maps.votes.shape == (*SIZE, 1)
    raw = dense_predictor.predictions(image)
    scores = raw[..., 0] * raw[..., 1]
    # Location (5, 7) begins at pixel (10, 14), and the middle of its cell of 4 pixels is a corner of four pixels, each
    # a quarter of the way to the next location.
    share = np.array([0.125, 0.75, 0.125])
    want = share @ scores[4:7, 6:9] @ share
    np.testing.assert_allclose(maps.objectness[11:13, 15:17].mean(), want, rtol=1e-3)


@pytest.mark.parametrize("size", [SIZE, (128, 96), (37, 50)])
def test_a_ramp_stays_a_ramp(detector, size):
    """Each location's value is the row of the network's image that it stands for; a photo's pixel has its own."""
    rows = np.arange(16) * 4 + 2.0
    got = predictor(detector, 4)._at_pixels(np.tile(rows[:, None, None], (1, 12, 1)), size, 4, 2)[..., 0]
    want = np.clip((np.arange(size[0]) + 0.5) * 64 / size[0], rows[0], rows[-1])
    np.testing.assert_allclose(got, np.tile(want[:, None], (1, size[1])), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("output_stride", "dilate"), [(2, True), (1, False)])
def test_both_graphs_run_as_litert_files(detector, output_stride, dilate, tmp_path):
    """Builtin operators alone, votes included, and the numbers of Keras."""
    own = predictor(detector, output_stride, dilate)
    model = probabilities(yolo_dense(own.network, own.vote, [0.3]), SIZE)
    content = tflite.convert(model, SIZE)
    assert not [name for name in graph.operators(content) if name.startswith(("CUSTOM", "Flex"))]
    path = tmp_path / "dense.tflite"
    path.write_bytes(metadata.attach(content, About("segmentation", ("background", "person"), SIZE)))
    image = np.random.default_rng(3).integers(0, 256, (*SIZE, 3)).astype("uint8")
    got = Predictor(path).outputs(image)["segmentation"]
    votes = own.maps(image).votes[..., 0]
    np.testing.assert_allclose(got[..., 1], votes / (votes + 0.3), atol=2e-3)

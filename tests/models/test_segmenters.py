"""YoloSegNet, YoloUNet and the control between them."""

import numpy as np
import pytest

from kerastransfer.encoders.yolov1 import SMALL, yolov1_encoder
from kerastransfer.models.predictor import probabilities
from kerastransfer.models.yolo_segnet import yolo_segnet
from kerastransfer.models.yolo_unet import DECODERS, matched_segnet, yolo_unet

NARROW = (((4, 3, 2),), ((4, 3, 2),), ((6, 3, 2),), ((8, 3, 2),), ((8, 3, 2),))


@pytest.fixture(scope="module")
def paper_encoder():
    return yolov1_encoder()


@pytest.fixture(scope="module")
def encoder():
    return yolov1_encoder(NARROW)


def trained_with_it(model):
    """Parameters that gradients move beside a frozen encoder."""
    return sum(int(np.prod(w.shape)) for part in ("decoder", "head") for w in model.get_layer(part).trainable_weights)


@pytest.mark.parametrize(("classes", "parameters"), [(2, 2_796_706), (1, 2_796_577)])
def test_segnet_parameters(paper_encoder, classes, parameters):
    assert trained_with_it(yolo_segnet(paper_encoder, classes)) == parameters


def test_unet_parameters(paper_encoder):
    assert trained_with_it(yolo_unet(paper_encoder, 2)) == 6_582_754


@pytest.mark.parametrize("stages", [None, SMALL], ids=["yolov1", "small"])
def test_control_has_as_many_parameters_as_unet(paper_encoder, stages):
    encoder = yolov1_encoder(stages) if stages else paper_encoder
    assert trained_with_it(matched_segnet(encoder, 2)) == pytest.approx(
        trained_with_it(yolo_unet(encoder, 2)), rel=0.01
    )


@pytest.mark.parametrize("build", DECODERS.values(), ids=DECODERS)
def test_logits_are_as_large_as_the_image(paper_encoder, build):
    model = build(paper_encoder, 3)
    assert model.compute_output_shape((1, 448, 448, 3)) == (1, 448, 448, 3)
    assert [model.get_layer(part).name for part in ("encoder", "decoder", "head")] == ["encoder", "decoder", "head"]


@pytest.mark.parametrize("build", [yolo_segnet, yolo_unet])
def test_forward_and_probabilities(encoder, build):
    model = build(encoder, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3)).astype("float32")
    logits = np.array(model(pixels))
    assert logits.shape == (2, 64, 32, 3) and logits.min() < 0
    out = np.array(probabilities(model)(pixels)["segmentation"])
    np.testing.assert_allclose(out, np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(out.sum(-1), 1, atol=1e-5)


def test_skips_are_read(encoder):
    """Without skips the last tap is all that the logits know; with them the first tap counts."""
    pixels = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3)).astype("float32")
    taps = {tap: np.array(value) for tap, value in encoder(pixels).items()}
    for build, reads in ((yolo_segnet, {"c5"}), (yolo_unet, {"c1", "c2", "c3", "c4", "c5"})):
        model = build(encoder, 2)
        assert set(model.get_layer("decoder").input) == reads
        logits = model.get_layer("head")(model.get_layer("decoder")({tap: taps[tap] for tap in reads}))
        np.testing.assert_allclose(logits, model(pixels), atol=1e-5)


def test_widths_are_an_argument(encoder):
    decoder = yolo_segnet(encoder, 2, widths=(10, 8, 6, 4)).get_layer("decoder")
    assert [decoder.get_layer(f"up{step}_conv").filters for step in (1, 2, 3, 4)] == [10, 8, 6, 4]

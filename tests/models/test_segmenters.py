"""YoloSegNet, YoloUNet and the control between them."""

import keras
import numpy as np
import pytest

from kerastransfer.decoders import yolo_segnet as segnet
from kerastransfer.encoders.yolov1 import SMALL, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.heads import pixels
from kerastransfer.models.predictor import probabilities
from kerastransfer.models.segmenter import DECODERS, Part, segmenter
from kerastransfer.models.yolo_segnet import yolo_segnet
from kerastransfer.models.yolo_unet import yolo_unet

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


@pytest.mark.slow
@pytest.mark.parametrize("stages", [None, SMALL], ids=["yolov1", "small"])
def test_control_has_as_many_parameters_as_unet(paper_encoder, stages):
    encoder = yolov1_encoder(stages) if stages else paper_encoder
    nodes = len(encoder._inbound_nodes)
    matched = segmenter(encoder, "segnet_matched", 2)
    assert len(encoder._inbound_nodes) == nodes + 1, "no other model is built on the caller's encoder"
    assert trained_with_it(matched) == pytest.approx(trained_with_it(yolo_unet(encoder, 2)), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_logits_are_as_large_as_the_image(paper_encoder, decoder):
    model = segmenter(paper_encoder, decoder, 3)
    assert model.compute_output_shape((1, 448, 448, 3)) == (1, 448, 448, 3)
    assert [model.get_layer(part).name for part in ("encoder", "decoder", "head")] == ["encoder", "decoder", "head"]


def test_the_decoder_may_be_ones_own(encoder):
    part = Part(segnet.segnet, pixels.transposed, lambda channels, strides, classes: [classes] * len(channels))
    decoder = segmenter(encoder, part, 5).get_layer("decoder")
    assert decoder.output["pixels"].shape[-1] == 5


def test_an_unknown_decoder(encoder):
    with pytest.raises(UserError, match="unknown decoder 'unett'; choose segnet, unet, segnet_matched"):
        segmenter(encoder, "unett", 2)


def foreign(shape=(None, None, 3), weights=None):
    """keras.applications' MobileNetV2, narrow, by its stages."""
    base = keras.applications.MobileNetV2(input_shape=shape, alpha=0.35, include_top=False, weights=weights)
    names = ("Conv1_relu", "block_2_add", "block_5_add", "block_12_add", "out_relu")
    return base, {f"c{i}": base.get_layer(name).output for i, name in enumerate(names, 1)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
@pytest.mark.parametrize("shape", [(None, None, 3), (96, 96, 3)])
def test_an_encoder_of_keras_applications(shape):
    base, stages = foreign(shape)
    encoder = keras.Model(base.input, stages | {"other": base.output}, name="encoder")
    for decoder in DECODERS:
        model = segmenter(encoder, decoder, 2)
        assert model(np.zeros((1, 96, 96, 3), "float32")).shape == (1, 96, 96, 2)
        assert not set(model.get_layer("decoder").input) - set(stages)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
def test_what_is_no_encoder_is_named():
    base, stages = foreign((96, 96, 3))
    for wrong, words in (
        (yolov1_encoder, "is a function, not a model"),
        (base, "gives a KerasTensor, not a dict"),
        (keras.Model(base.input, list(stages.values()), name="listed"), "'listed' gives a list, not a dict"),
        (keras.Model(base.input, {"stage1": stages["c1"]}), "gives stage1; give a keras.Model"),
        (keras.Model(base.input, {"c1": keras.layers.Flatten()(stages["c1"])}), r"no map \(B, h, w, D\) as 'c1'"),
        (keras.Model([base.input, keras.Input((1,))], stages), "does not read one image"),
    ):
        with pytest.raises(UserError, match=words) as error:
            segmenter(wrong, "unet", 2)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("decoder", ["segnet", "unet"])
def test_an_image_that_does_not_fit_the_strides_is_refused(encoder, decoder):
    """70 pixels would give logits of 64 or of 96, or a message about a concatenation deep inside."""
    model = segmenter(encoder, decoder, 2)
    words = (
        r"^the images are 64 x 70 pixels, and the network needs multiples of 32; resize them to 64 x 64, or pad them "
        r"to 64 x 96 and cut the result$"
    )
    with pytest.raises(UserError, match=words):
        model(np.zeros((1, 64, 70, 3), "float32"))
    with pytest.raises(UserError, match=r"^the images are 64 x 70 pixels, .* the result$"):
        model.predict(np.zeros((1, 64, 70, 3), "float32"), verbose=0)
    # A script may catch what Keras raises.
    with pytest.raises(ValueError, match="multiples of 32"):
        model.predict(np.zeros((1, 70, 64, 3), "float32"), verbose=0)
    with pytest.raises(ValueError, match="multiples of 32"):
        probabilities(model, (70, 64))
    image = keras.Input((70, 70, 3))
    fixed = keras.Model(image, encoder(image), name="fixed")
    with pytest.raises(UserError, match="70 x 70 pixels, which is not a multiple of its stride of 32"):
        segmenter(fixed, decoder, 2)


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

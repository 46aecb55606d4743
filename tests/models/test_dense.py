"""The detector on other strides, against the detector itself on all shifts of the image."""

import keras
import numpy as np
import pytest

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders import resnet as resnets
from kerastransfer.encoders import taps
from kerastransfer.encoders.yolov1 import POOL, YOLOV1, strides_to, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.layers.deformable import DeformableConv2D
from kerastransfer.models.adapter import encoder_of
from kerastransfer.models.dense import Odds, Vote, dense, dilated, receptive_radius, yolo_dense
from kerastransfer.models.yolov1 import yolov1

# Every kind of layer; total stride 8, and what is seen stays small.
FIVE = (((3, 5, 2),), ((4, 3), POOL), (((2, 1), (4, 3)),), ((5, 3),), ((6, 3, 2),))


def detector(head="fully_conv", seed=0, **options):
    """Random weights, with batch statistics that make borders count."""
    random = np.random.default_rng(seed)
    model = yolov1(yolov1_encoder(FIVE), YoloV1Codec(2), head=head, **options)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.4, weight.shape) + (1 if "gamma" in weight.path else 0))
        if "variance" in weight.path:
            weight.assign(np.abs(weight) + 0.5)
    return model


def pixels(height, width, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3)).astype("float32")


@pytest.fixture(scope="module")
def trained():
    return detector(hidden=(5, 4))


@pytest.mark.parametrize("dilate", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (31, 50), (1, 3)])
def test_output_is_as_large_as_the_image(trained, size, dilate):
    assert dense(trained, 1, dilate=dilate)(pixels(*size)).shape == (1, *size, 2 + 10)


@pytest.mark.parametrize("size", [64, 96, 127])
@pytest.mark.slow
def test_output_of_yolov1_is_as_large_as_the_image(size):
    """Of the paper's 24 convolutions, by shapes alone."""
    encoder = yolov1_encoder(strides=strides_to(YOLOV1, 1), dilate=True)
    assert encoder.compute_output_shape((1, size, size, 3))["c5"] == (1, size, size, 1024)


@pytest.mark.parametrize("output_stride", [1, 2, 4, 8])
def test_a_trous_sampled_is_the_detector(trained, output_stride):
    image = pixels(48, 64)
    got = np.array(dense(trained, output_stride)(image))
    step = 8 // output_stride
    np.testing.assert_allclose(got[:, ::step, ::step], trained(image), atol=1e-4)


def test_a_trous_is_the_detector_on_all_shifts(trained):
    """Away from the border: each shift sees zeros where the whole image has pixels."""
    side, stride = 160, 8
    image = pixels(side, side)
    got = np.array(dense(trained, 1)(image))
    edge = receptive_radius(trained)
    assert edge < side // 2 - stride
    for dy, dx in ((0, 0), (1, 0), (3, 6), (7, 7)):
        shifted = image[:, dy : dy + side - stride, dx : dx + side - stride]
        want = np.array(trained(shifted))
        inner = slice(-(-edge // stride), (side - stride - edge) // stride)
        assert inner.stop - inner.start >= 3
        np.testing.assert_allclose(
            got[:, dy : dy + side - stride : stride, dx : dx + side - stride : stride][:, inner, inner],
            want[:, inner, inner],
            atol=1e-4,
        )


def test_the_detector_itself_does_not_change(trained):
    before = [np.array(weight) for weight in trained.weights]
    copy = dense(trained, 2)
    copy.get_layer("encoder").get_layer("c1_1_conv").kernel.assign(np.zeros((5, 5, 3, 3)))
    for weight, old in zip(trained.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize(("dilate", "output_stride"), [(True, 1), (True, 4), (False, 1), (True, 8)])
def test_what_counts_lies_within_the_receptive_radius(trained, dilate, output_stride):
    model = dense(trained, output_stride, dilate=dilate)
    radius, side = receptive_radius(model), 144
    base = pixels(side, side)
    other = base.copy()
    other[:, 72, 72] = 255 - other[:, 72, 72]
    moved = np.abs(np.array(model(other)) - np.array(model(base))).max(axis=(0, 3)) > 0
    rows = np.flatnonzero(moved.any(axis=1)) * output_stride
    assert 72 - radius <= rows.min() and rows.max() <= 72 + radius
    assert rows.min() < 72 - 0.6 * radius  # and not much less: the far side counts pools too


@pytest.mark.slow
def test_receptive_fields_of_the_paper():
    """749 pixels, pools see 2 + 4 + 8 + 16 on one side only; 35 without strides."""
    assert 2 * receptive_radius(yolov1_encoder()) + 1 - 30 == 749
    assert 2 * receptive_radius(yolov1_encoder(strides=[1] * 6)) + 1 == 35
    assert receptive_radius(yolov1_encoder(strides=[1] * 6, dilate=True)) == receptive_radius(yolov1_encoder())


def test_dense_layers_cannot_be_dense():
    with pytest.raises(ValueError, match="train with --head fully_conv"):
        dense(detector("paper_fc", grid=4, hidden=8), 1)


def test_an_output_stride_that_the_network_cannot_have(trained):
    with pytest.raises(ValueError, match=r"choose one of 1, 2, 4, 8$"):
        dense(trained, 3)
    with pytest.raises(ValueError, match=r"choose one of 1, 2, 4, 8$"):
        dense(trained, 16)


def alive(model, seed=0):
    """Random offsets and statistics, so that borders count; values stay of the order of 1."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "gamma" in weight.path or "variance" in weight.path:
            weight.assign(random.uniform(0.6, 1.4, weight.shape))
        elif "beta" in weight.path or "moving_mean" in weight.path:
            weight.assign(random.normal(0, 0.3, weight.shape))
    return model


def darknet_encoder():
    from kerastransfer.models import darknet_cfg, darknet_nets
    from kerastransfer.models.yolov3 import yolov3

    cfg = darknet_nets.yolov3_cfg("yolov3", num_classes=1, width=0.0625, image_size=64)
    return yolov3(darknet_cfg.parse(cfg)).get_layer("encoder")


def tiny_encoder():
    from kerastransfer.models import darknet_cfg, darknet_nets
    from kerastransfer.models.yolov3 import yolov3

    cfg = darknet_nets.yolov3_cfg("yolov3-tiny", num_classes=1, width=0.0625, image_size=64)
    return yolov3(darknet_cfg.parse(cfg)).get_layer("encoder")


def depthwise():
    """The blocks of MobileNet, whose strides have zeros on the far sides alone, behind a pool of 3 x 3."""
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.ZeroPadding2D(1)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.MaxPooling2D(3, 2)(x)
    for number, stride in enumerate((1, 2, 1, 2, 1)):
        if stride == 2:
            x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        padding = "same" if stride == 1 else "valid"
        x = keras.layers.DepthwiseConv2D(3, stride, padding=padding, use_bias=False, name=f"deep{number}")(x)
        x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(name=f"norm{number}")(x))
        x = keras.layers.Conv2D(8, 1, name=f"point{number}")(x)
    return keras.Model(image, {"c5": x}, name="encoder")


def resnet():
    base = keras.applications.ResNet50(input_shape=(64, 64, 3), include_top=False, weights=None)
    return keras.Model(base.input, {"c5": base.get_layer("conv3_block2_out").output}, name="encoder")


ENCODERS = {"yolov3": darknet_encoder, "yolov3-tiny": tiny_encoder, "depthwise": depthwise, "resnet": resnet}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_any_encoder_of_convolutions_and_pools(name):
    keras.utils.set_random_seed(0)
    encoder = ENCODERS[name]()
    model = alive(yolov1(encoder, YoloV1Codec(1), hidden=(5, 4)))
    (stride,) = {64 // shape[1] for shape in [encoder.compute_output_shape((1, 64, 64, 3))["c5"]]}
    image = pixels(64, 64)
    want = np.array(model(image))
    assert want.std() > 0.01
    for output_stride in (1, 4, stride):
        got = np.array(dense(model, output_stride)(image))
        assert got.shape[1:3] == (64 // output_stride, 64 // output_stride)
        step = stride // output_stride
        np.testing.assert_allclose(got[:, ::step, ::step], want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "MobileNetV3Small"])
def test_squeeze_and_excitation_takes_the_mean_of_the_finer_map(name):
    """The mean in front of Reshape, or kept as a map of one position. Gates that read nothing leave the map exact."""
    builder = getattr(keras.applications, name)
    encoder = encoder_of(builder(weights=None, include_top=False, input_shape=(None, None, 3)))
    random = np.random.default_rng(0)
    for weight in encoder.weights:
        if weight.path.split("/")[-1] in ("gamma", "beta", "moving_mean", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    image = pixels(64, 96)

    def difference():
        expected, found = np.array(encoder(image)["c5"]), np.array(dilated(encoder, 16)(image)["c5"])
        assert found.shape[1:3] == (4, 6)
        return np.abs(found[:, ::2, ::2] - expected).max() / np.abs(expected).max()

    assert difference() < 0.05
    # The convolution behind the mean: "..._se_reduce" there, "..._squeeze_excite_conv" here.
    gates = [one for one in encoder.weights if "se_reduce/kernel" in one.path or "excite_conv/kernel" in one.path]
    assert len(gates) > 5
    for gate in gates:
        gate.assign(np.zeros(gate.shape))
    assert difference() < 1e-4
    with pytest.raises(ValueError, match="takes the mean of the whole image; leave out tiles"):
        receptive_radius(encoder)


def test_what_has_no_dense_form_is_named():
    image = keras.Input((None, None, 3))
    for layer, words in (
        (keras.layers.Conv2D(4, 3, 2, padding="same", name="uneven"), "'uneven' pads more on the far sides"),
        (keras.layers.AveragePooling2D(2, name="average"), r"'average' \(AveragePooling2D\) has no dense form"),
        (keras.layers.UpSampling2D(2, name="larger"), "'larger'"),
    ):
        encoder = keras.Model(image, {"c5": layer(keras.layers.Conv2D(4, 1)(image))}, name="encoder")
        with pytest.raises(ValueError, match=words):
            dense(yolov1(encoder, YoloV1Codec(1), hidden=(5, 4)))


def looped_votes(codec, raw, step, stride, side):
    """Votes by loops over locations and pixels, for sizes in fractions of the image."""
    votes = np.zeros((side, side))
    centres = np.arange(side) + 0.5
    for i in range(raw.shape[0]):
        for j in range(raw.shape[1]):
            kind, confidence, x, y, w, h = raw[i, j]
            cy, cx, h, w = i * step + y * stride, j * step + x * stride, h * side, w * side
            rows, columns = (
                np.clip(np.minimum(c + long / 2, centres + 0.5) - np.maximum(c - long / 2, centres - 0.5), 0, 1)
                for c, long in ((cy, h), (cx, w))
            )
            votes += max(0, kind * confidence) * np.outer(rows, columns)
    return votes * (step / stride) ** 2


def test_votes_are_the_boxes_painted():
    codec = YoloV1Codec(1, 1, sizes="image", score="product")
    raw = np.random.default_rng(0).uniform(-0.2, 0.8, (1, 6, 6, 6)).astype("float32")
    vote = Vote(codec, 4, 8, (24, 24))
    np.testing.assert_allclose(np.array(vote(raw))[0, ..., 0], looped_votes(codec, raw[0], 4, 8, 24), atol=1e-4)
    np.testing.assert_allclose(vote.objectness(raw)[..., 0], raw[..., 0] * raw[..., 1], atol=1e-6)


def test_votes_of_classes_merge():
    codec = YoloV1Codec(3, 2, sizes="cell", score="product")
    raw = np.random.default_rng(1).uniform(0, 0.8, (1, 5, 5, codec.outputs)).astype("float32")
    apart, merged = (Vote(codec, 2, 4, (10, 10), merge=merge) for merge in (False, True))
    assert apart(raw).shape == (1, 10, 10, 3)
    np.testing.assert_allclose(np.array(apart(raw)).sum(-1), merged(raw)[..., 0], atol=1e-6)
    np.testing.assert_array_equal(np.array(apart.objectness(raw)).max(-1), merged.objectness(raw)[..., 0])


def test_a_pixel_is_the_class_whose_votes_pass_its_threshold():
    votes = np.array([[[[0, 0], [2, 0], [0.9, 0.5], [3, 3]]]], "float32")
    classes = np.argmax(Odds([1.0, 2.0])(votes), -1)
    np.testing.assert_array_equal(classes[0, 0], [0, 1, 0, 1])


@pytest.mark.slow
def test_the_segmenter_is_saved_and_loaded(trained, tmp_path):
    vote = Vote(YoloV1Codec(2), 4, 8, (32, 48), merge=True, name="vote")
    model = yolo_dense(dense(trained, 4), vote, [0.5])
    model.save(tmp_path / "dense.keras")
    again = keras.saving.load_model(tmp_path / "dense.keras")
    image = pixels(32, 48)
    assert again(image).shape == (1, 32, 48, 2)
    np.testing.assert_allclose(again(image), model(image), atol=1e-5)


# Encoders whose last strides are replaced by dilation

# Fewer filters might send the offsets of deformable convolutions beyond the map.
STAGES = ((4, 2), (4, 1), (5, 1), (6, 1))


def mobilenet_v2():
    model = keras.applications.MobileNetV2(input_shape=(64, 64, 3), alpha=0.35, include_top=False, weights=None)
    return encoder_of(model, "tf")


def built_for_64_pixels():
    """Its last convolution was built for a map of 4 x 4, padding included, which is smaller than its dilated kernel."""
    x = image = keras.Input((64, 64, 3))
    for stride in (2, 2, 2, 2, 2, 1):
        x = keras.layers.Conv2D(4, 3, stride, activation="tanh")(keras.layers.ZeroPadding2D(1)(x))
    return encoder_of(keras.Model(image, x), "unit")


DILATED = {
    "yolov1": lambda: yolov1_encoder((*FIVE[:2], (((2, 1), (4, 3)), POOL), ((5, 3, 2),), ((6, 3), POOL, (6, 3)))),
    "resnet": lambda: resnets.resnet50(stages=STAGES),
    "resnet, stride in 3x3": lambda: resnets.resnet50(stages=STAGES, stride_in="3x3"),
    "yolov3": darknet_encoder,
    "mobilenet_v2": mobilenet_v2,
    "built for 64 pixels": built_for_64_pixels,
}


def same_taps(encoder, copy, image):
    """At every second (fourth, ...) position the copy has what the encoder has."""
    own, found = taps.strides(encoder), taps.strides(copy)
    given, got = encoder(image), copy(image)
    assert list(got) == list(given)
    for tap, values in given.items():
        wanted, step = np.array(values), own[tap] // found[tap]
        assert wanted.std() > 1e-3
        np.testing.assert_allclose(
            np.array(got[tap])[:, ::step, ::step], wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max(), err_msg=tap
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", DILATED)
def test_a_dilated_encoder_has_the_taps_of_the_encoder(name):
    keras.utils.set_random_seed(0)
    encoder = alive(DILATED[name]())
    strides = taps.strides(encoder)
    assert max(strides.values()) == 32
    for output_stride in (16, 8):
        copy = dilated(encoder, output_stride)
        assert taps.strides(copy) == {tap: min(stride, output_stride) for tap, stride in strides.items()}
        assert copy.name == encoder.name and taps.channels(copy) == taps.channels(encoder)
        for one, other in zip(copy.weights, encoder.weights, strict=True):
            np.testing.assert_array_equal(one, other)
        same_taps(encoder, copy, pixels(64, 64))
    # The copy is one: training it leaves the encoder alone.
    weight = copy.trainable_weights[0]
    before = np.array(encoder.trainable_weights[0])
    weight.assign_add(np.ones(weight.shape))
    np.testing.assert_array_equal(encoder.trainable_weights[0], before)


@pytest.mark.slow
@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
@pytest.mark.parametrize("kind", [1, 2])
def test_deformable_convolutions_reach_as_far_on_a_finer_map(kind, stride_in):
    """Whole offsets meet the same pixels; others are interpolated between nearer ones."""
    keras.utils.set_random_seed(0)
    encoder = alive(resnets.resnet(STAGES, deformable=kind, stride_in=stride_in))
    layers = [layer for layer in encoder.layers if isinstance(layer, DeformableConv2D)]
    random = np.random.default_rng(0)
    for layer in layers:
        values = random.integers(-1, 2, layer.offset.bias.shape).astype("float32")
        # Factors may be any number, and are not changed.
        values[layer._shifts :] = random.normal(size=values[layer._shifts :].shape)
        layer.offset.bias.assign(values)
    assert len(layers) == 3
    for output_stride in (16, 8):
        copy = dilated(encoder, output_stride)
        same_taps(encoder, copy, pixels(64, 64))
    name = layers[-1].name
    own, finer = (model.get_layer(name).offset.bias[: layers[-1]._shifts] for model in (encoder, copy))
    np.testing.assert_array_equal(finer, (4 if stride_in == "1x1" else 2) * np.array(own))
    with pytest.raises(ValueError, match="is deformable and may see anything"):
        receptive_radius(encoder)


def test_a_dilated_encoder_of_the_same_stride_is_a_copy():
    encoder = yolov1_encoder(FIVE)
    copy = dilated(encoder, 8)
    assert copy is not encoder and taps.strides(copy) == taps.strides(encoder)
    same_taps(encoder, copy, pixels(32, 32))


def test_what_cannot_be_dilated_is_refused_in_one_line():
    image = keras.Input((None, None, 3))
    encoder = keras.Model(image, {"c1": keras.layers.Conv2D(4, 3, 2, padding="same", name="uneven")(image)})
    for model, stride, words in (
        (
            yolov1_encoder(FIVE),
            16,
            "--output-stride 16: the largest stride of the encoder is 8; give 8, or leave it out",
        ),
        (yolov1_encoder(FIVE), 3, "--output-stride 3: the largest stride of the encoder is 8; give 8"),
        (encoder, 1, "cannot be dilated .layer 'uneven' pads more on the far sides"),
    ):
        with pytest.raises(UserError, match=words) as error:
            dilated(model, stride)
        assert "\n" not in str(error.value) and "--head" not in str(error.value)

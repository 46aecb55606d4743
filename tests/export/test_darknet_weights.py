"""Darknet's .weights files: to the byte, and held against a reference of our own and against OpenCV."""

import math
import struct
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import POOL, YOLOV1, layers_by_name, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.export import darknet_weights
from kerastransfer.export.darknet_weights import Header
from kerastransfer.models.darknet_cfg import image_size, parse
from kerastransfer.models.darknet_nets import yolov3_cfg
from kerastransfer.models.yolov1 import yolov1
from kerastransfer.models.yolov3 import yolov3

PHOTO = next((Path(__file__).parent.parent / "data" / "photos" / "voc").rglob("*.jpg"))
# Odd sizes, a kernel of 5, pools that keep the size, a route of one and of two, groups, activations, two levels.
OWN = """
[net]
width=43
height=35
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[maxpool]
size=2
stride=1
[convolutional]
filters=8
size=5
stride=2
pad=1
activation=mish
[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
groups=2
activation=logistic
[shortcut]
from=-2
activation=leaky
[maxpool]
size=5
stride=1
[route]
layers=-1,-2
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=4,5, 9,9, 20,10
classes=2
num=3
[route]
layers=-3
[upsample]
stride=2
[route]
layers=-1,0
[convolutional]
batch_normalize=1
filters=8
size=1
activation=swish
[convolutional]
filters=7
size=1
activation=linear
[yolo]
mask=2
anchors=4,5, 9,9, 20,10
classes=2
num=3
"""
# What cfg files of later nets have: depthwise convolutions, parts of a map, squeeze and excitation, attention by
# position, dropout, sums and products with an activation. Its last line has no line feed.
WILD = """
[net]
width=40
height=32
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=16
groups=8
size=5
stride=2
pad=1
activation=swish
[dropout]
probability=.15
[route]
layers=-1
groups=2
group_id=1
[convolutional]
filters=8
size=3
groups=8
pad=1
activation=relu
[avgpool]
[convolutional]
filters=4
size=1
activation=relu
[convolutional]
filters=8
size=1
activation=logistic
[scale_channels]
from=-4
activation=leaky
[convolutional]
batch_normalize=1
filters=8
size=1
activation=logistic
[sam]
from=-2
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=4,5, 9,9
classes=2
num=2
scale_x_y=1.05"""
NARROW = (((4, 3, 2),), ((4, 3), POOL), ((6, 3, 2),), ((8, 3, 2),), ((8, 3),))  # stride 16


def randomised(model, seed=0):
    """The model with every weight drawn, batch statistics too, so that maps keep a range of about 1."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed_generator" in variable.path:
            continue
        value = generator.normal(size=variable.shape)
        if variable.name in ("moving_variance", "gamma"):
            value = 0.5 + generator.random(variable.shape)
        elif "kernel" in variable.name:
            value *= (2 / np.prod(variable.shape[:-1])) ** 0.5
        else:
            value *= 0.1
        variable.assign(value.astype("float32"))
    return model


def values(model):
    return [np.array(variable) for variable in model.weights if "seed_generator" not in variable.path]


def assert_equal(one, other):
    for first, second in zip(values(one), values(other), strict=True):
        np.testing.assert_array_equal(first, second)


def native(grid=2):
    """A small YOLOv1 in Darknet's form: convolutions, locally connected, connected."""
    codec = YoloV1Codec(num_classes=2, layout="darknet", score="product", sizes="root")
    side = 16 * grid
    encoder = yolov1_encoder(NARROW)
    image = keras.Input((side, side, 3))
    encoder = keras.Model(image, encoder(image), name="encoder")
    return yolov1(encoder, codec, head="darknet_local", grid=grid, hidden=3)


@pytest.fixture(scope="module")
def tiny():
    """yolov3-tiny as it is published, with drawn weights."""
    return randomised(yolov3(yolov3_cfg("yolov3-tiny")))


@pytest.fixture(scope="module")
def own():
    return randomised(yolov3(OWN))


def test_published_size_and_round_trip(tiny, tmp_path):
    path = tmp_path / "tiny.weights"
    darknet_weights.write(tiny, path, header=Header(seen=32013312))
    assert path.stat().st_size == 35_434_956
    again = yolov3(yolov3_cfg("yolov3-tiny"))
    told = darknet_weights.read(path, again)
    assert_equal(tiny, again)
    assert told["header"] == Header(0, 2, 0, 32013312) and not told["fresh"]
    assert told["copied"] == [f"conv_{index}" for index in (0, 2, 4, 6, 8, 10, 12, 13, 14, 15, 18, 21, 22)]


def test_order_of_a_file(own, tmp_path):
    """The first layer has batch norm: offsets, scales, means, variances, then [out][in][row][column]."""
    darknet_weights.write(own, tmp_path / "own.weights")
    raw = (tmp_path / "own.weights").read_bytes()
    assert struct.unpack("<iiiQ", raw[:20]) == (0, 2, 0, 0)
    numbers = np.frombuffer(raw[20:], "<f4")
    encoder = own.get_layer("encoder")
    norm, kernel = encoder.get_layer("conv_0_bn"), np.array(encoder.get_layer("conv_0").kernel)
    for place, variable in enumerate((norm.beta, norm.gamma, norm.moving_mean, norm.moving_variance)):
        np.testing.assert_array_equal(numbers[8 * place : 8 * place + 8], variable)
    assert numbers[32 + ((5 * 3 + 1) * 3 + 0) * 3 + 2] == kernel[0, 2, 1, 5]
    after = 32 + kernel.size
    np.testing.assert_array_equal(numbers[after : after + 8], encoder.get_layer("conv_2").bias)


@pytest.mark.parametrize(
    ("header", "size", "transposed"),
    [
        (Header(0, 1, 0, 5), 16, False),
        (Header(0, 2, 0, 2**40), 20, False),
        (Header(1, 0), 20, False),
        (Header(1001, 0), 16, True),
        (Header(0, 1001), 16, True),
    ],
)
def test_headers(header, size, transposed, tmp_path):
    model = randomised(native())
    path = tmp_path / "native.weights"
    darknet_weights.write(model, path, header=header)
    assert path.stat().st_size == size + 4 * sum(value.size for value in values(model))
    again = native()
    assert darknet_weights.read(path, again)["header"] == header
    assert_equal(model, again)
    kernel = np.array(model.get_layer("head").get_layer("predictions").kernel)
    last = np.frombuffer(path.read_bytes()[-4 * kernel.size :], "<f4")
    turned = kernel.reshape(2, 2, 3, -1)  # [row][column][channel][out]; Darknet's map is [channel][row][column]
    axes = (2, 0, 1, 3) if transposed else (3, 2, 0, 1)
    np.testing.assert_array_equal(last, turned.transpose(axes).ravel())


def test_locally_connected_order(tmp_path):
    """Offsets filter by filter, then for each place its filters, [channel][row][column] each."""
    model = randomised(native())
    path = tmp_path / "native.weights"
    darknet_weights.write(model, path)
    local = model.get_layer("head").get_layer("local")
    trunk = sum(value.size for value in values(model.get_layer("encoder")))
    numbers = np.frombuffer(path.read_bytes()[20 + 4 * trunk :], "<f4")
    bias, kernel = np.array(local.bias), np.array(local.kernel_weights)
    np.testing.assert_array_equal(numbers[:12].reshape(3, 4), bias.T)
    place, channel, row, column, filters = 2, 5, 1, 2, 1
    at = 12 + ((place * 3 + filters) * 8 + channel) * 9 + row * 3 + column
    assert numbers[at] == kernel[place, (row * 3 + column) * 8 + channel, filters]


def test_floats_of_yolov1():
    """The published file, of version 0.1, has 789,312,988 bytes. Built without values, which would take 0.8 GB."""
    with keras.StatelessScope(initialize_variables=False):
        codec = YoloV1Codec(20, 3, layout="darknet", score="product", sizes="root")
        net = yolov1(yolov1_encoder(YOLOV1), codec, head="darknet_local", grid=7)
    places = [place for _, _, found in darknet_weights._order(net, Header()) for place in found]
    assert struct.calcsize(Header(0, 1).layout) + 4 * sum(math.prod(place.shape) for place in places) == 789_312_988
    narrow = {name: places for _, name, places in darknet_weights._order(native(), Header())}
    assert [place.shape for place in narrow["local"]] == [(3, 4), (4, 3, 8, 3, 3)]
    assert [place.shape for place in narrow["predictions"]] == [(48,), (48, 3, 2, 2)]


def test_trunks(own, tmp_path):
    whole, trunk = tmp_path / "whole.weights", tmp_path / "trunk.weights"
    darknet_weights.write(own, whole)
    darknet_weights.write(own, trunk, layers=3)
    assert trunk.read_bytes() == whole.read_bytes()[: trunk.stat().st_size]
    for path in (whole, trunk):
        again = yolov3(OWN)
        before = values(again)
        told = darknet_weights.read(path, again, layers=3)
        assert told["copied"] == ["conv_0", "conv_2"] and told["fresh"] == ["conv_3", "conv_7", "conv_12", "conv_13"]
        own_values = {variable.path: np.array(variable) for variable in own.weights}
        for variable, old in zip(again.weights, before, strict=True):
            copied = variable.path.startswith(("conv_0", "conv_2"))
            np.testing.assert_array_equal(variable, own_values[variable.path] if copied else old)
    encoder = yolov3(OWN).get_layer("encoder")
    with pytest.raises(UserError, match="goes on after the last layer"):
        darknet_weights.read(whole, encoder)
    darknet_weights.read(whole, encoder, layers=5)
    assert_equal(encoder, own.get_layer("encoder"))


def test_what_is_refused_changes_nothing(own, tmp_path):
    path = tmp_path / "own.weights"
    darknet_weights.write(own, path)
    raw = path.read_bytes()
    first = 20 + 4 * (32 + 8 * 27)
    model = yolov3(OWN)
    before = values(model)
    broken = {
        "longer": (raw + b"\0" * 8, f"goes on after the last layer conv_13, at byte {len(raw)}, with 8 bytes"),
        "shorter": (raw[:-4], "ends inside layer conv_13, which begins at byte"),
        "a layer": (
            raw[:first],
            rf"ends inside layer conv_2, which begins at byte {first} and needs 6432, but 0 remain",
        ),
        "cut": (raw[:-1], "not a header of 20 and whole float32"),
        "nothing": (b"", "fewer than a header"),
        "header": (raw[:20], "ends inside layer conv_0"),
        "shifted": (raw[:20] + raw[24:] + b"\0\0\0\0", "a variance of layer conv_0 at byte 116 is below zero"),
        "nan": (raw[:24] + b"\xff" * 4 + raw[28:], "conv_0 at byte 20 are not finite"),
    }
    for name, (content, message) in broken.items():
        if name == "shifted":  # the first weight takes the last variance's place
            content = content[: 20 + 4 * 31] + np.float32(-0.1).tobytes() + content[20 + 4 * 32 :]
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            darknet_weights.read(path, model)
    with pytest.raises(UserError, match="cannot be read"):
        darknet_weights.read(tmp_path / "none.weights", model)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_models_without_a_place_are_refused(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2DTranspose(2, 2, name="up")(keras.layers.Conv2D(2, 1, name="predictions")(image))
    with pytest.raises(UserError, match="layer 'up' has weights that Darknet files cannot hold"):
        darknet_weights.write(keras.Model(image, x), tmp_path / "x.weights")
    bare = keras.Model(image, keras.layers.Conv2D(2, 1, use_bias=False, name="bare_conv")(image))
    with pytest.raises(UserError, match="'bare_conv' has neither a bias nor a batch norm"):
        darknet_weights.write(bare, tmp_path / "x.weights")
    with pytest.raises(UserError, match="has no convolution"):
        darknet_weights.write(keras.Model(image, keras.layers.Flatten()(image), name="flat"), tmp_path / "x.weights")
    assert not list(tmp_path.iterdir())


def darknet(cfg, raw, image):
    """What each section gives (H, W, channels) for an image (H, W, 3) in 0..1, in numpy, after Darknet's
    src/parser.c alone: order of axes, file and padding. A vector is of shape (1, 1, numbers)."""
    numbers = np.frombuffer(raw[20:], "<f4").astype("float64")

    def take(*shape):
        nonlocal numbers
        part, numbers = np.split(numbers, [int(np.prod(shape))])
        return part.reshape(shape)

    def windows(x, size, stride, before, after, fill):
        padded = np.pad(x, ((0, 0), (before, after), (before, after)), constant_values=fill)
        return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]

    activations = {
        "linear": lambda x: x,
        "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
        "relu": lambda x: np.maximum(x, 0),
        "relu6": lambda x: np.clip(x, 0, 6),
        "logistic": lambda x: 1 / (1 + np.exp(-x)),
        "swish": lambda x: x / (1 + np.exp(-x)),
        "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    }
    maps = []
    x = image.transpose(2, 0, 1).astype("float64")
    for index, section in enumerate(parse(cfg)[1:]):
        get = section.options.get
        size, stride, filters = (int(get(key, 1)) for key in ("size", "stride", "filters"))
        border = size // 2 if get("pad") == "1" else 0
        if section.kind == "convolutional":
            groups = int(get("groups", 1))
            beta, gamma, mean, variance = take(filters), 1, 0, 1 - 1e-5
            if get("batch_normalize"):
                gamma, mean, variance = take(filters), take(filters), take(filters)
            weights = take(groups, filters // groups, len(x) // groups, size, size)
            seen = windows(x, size, stride, border, border, 0)
            seen = seen.reshape(groups, -1, *seen.shape[1:])
            x = np.einsum("gchwij,gfcij->gfhw", seen, weights, optimize=True).reshape(filters, *seen.shape[2:4])
            scale = np.broadcast_to(gamma / np.sqrt(variance + 1e-5), filters)
            x = (x - np.broadcast_to(mean, filters)[:, None, None]) * scale[:, None, None] + beta[:, None, None]
        elif section.kind == "local":
            bias, weights = take(filters, *x.shape[1:]), take(*x.shape[1:], filters, len(x), size, size)
            x = np.einsum("chwij,hwfcij->fhw", windows(x, size, stride, border, border, 0), weights) + bias
        elif section.kind == "connected":
            outputs = int(get("output"))
            bias = take(outputs)
            x = (take(outputs, x.size) @ x.ravel() + bias)[:, None, None]
        elif section.kind == "maxpool":
            before = (size - 1) // 2
            x = windows(x, size, stride, before, size - 1 - before, -np.inf).max((-2, -1))
        elif section.kind == "upsample":
            x = x.repeat(stride, 1).repeat(stride, 2)
        elif section.kind == "avgpool":
            x = x.mean((1, 2), keepdims=True)
        elif section.kind == "route":
            layers = [int(one) for one in get("layers").split(",")]
            parts = [maps[one if one >= 0 else index + one] for one in layers]
            groups, number = int(get("groups", 1)), int(get("group_id", 0))
            x = np.concatenate([np.split(one, groups)[number] for one in parts])
        elif section.kind == "shortcut":
            x = x + maps[index + int(get("from"))]
        elif section.kind in ("scale_channels", "sam"):
            x = x * maps[index + int(get("from"))]
        x = activations[get("activation", "linear")](x)
        maps.append(x)
    assert not len(numbers)
    return [one.transpose(1, 2, 0) for one in maps]


def agree(found, expected, tolerance):
    """The largest difference is within `tolerance` of the map's range."""
    found, expected = np.array(found), np.array(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < tolerance * np.ptp(expected)
    assert np.ptp(expected) > 0.1


NETS = {
    "yolov3": yolov3_cfg("yolov3", width=0.05, num_classes=2, image_size=(64, 96)),
    "yolov3-spp": yolov3_cfg("yolov3-spp", width=0.05, num_classes=2, image_size=(64, 96)),
    "yolov3-tiny": yolov3_cfg("yolov3-tiny", width=0.1, num_classes=2, image_size=(64, 96)),
    "yolov3-small": yolov3_cfg("yolov3-small", width=0.5, num_classes=2, image_size=(64, 96)),
    "own": OWN,
    "wild": WILD,
    "own, relu": OWN.replace("leaky", "relu6").replace("mish", "relu"),
}


@pytest.fixture(scope="module", params=NETS)
def net(request, tmp_path_factory):
    """Model, cfg file and weights file of one of NETS, and a picture of the cfg's size in 0..255."""
    model = randomised(yolov3(NETS[request.param]), seed=3)
    return model, *stored(model, NETS[request.param], tmp_path_factory.mktemp("darknet"))


def stored(model, cfg, folder):
    """(cfg file, weights file, a picture (H, W, 3) of the cfg's size in 0..255)."""
    (folder / "net.cfg").write_text(cfg)
    darknet_weights.write(model, folder / "net.weights")
    options = parse(cfg)[0].options
    picture = np.random.default_rng(1).integers(0, 256, (int(options["height"]), int(options["width"]), 3))
    return folder / "net.cfg", folder / "net.weights", picture.astype("float32")


def chain_cfg(stages, side, head=""):
    """The cfg of a chain of convolutions and pools, as yolov1.cfg is."""
    sections = [f"[net]\nwidth={side}\nheight={side}\n"]
    for layer in layers_by_name(stages).values():
        if layer == POOL:
            sections.append("[maxpool]\nsize=2\nstride=2\n")
        else:
            filters, size, stride = (*layer, 1)[:3]
            sections.append(
                f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n"
                "activation=leaky\n"
            )
    return "".join(sections) + head


def raw_maps(cfg):
    """Indices of the sections before each [yolo]."""
    return [section.index - 1 for section in parse(cfg)[1:] if section.kind == "yolo"]


def by_size(maps):
    return sorted((np.array(one) for one in maps), key=len)


def test_maps_are_those_of_the_specification(net):
    model, cfg, weights, picture = net
    maps = darknet(cfg.read_text(), weights.read_bytes(), picture / 255)
    found = by_size(one[0] for one in model(picture[None]).values())
    for one, other in zip(found, by_size(maps[index] for index in raw_maps(cfg.read_text())), strict=True):
        agree(one, other, 1e-4)


def test_yolov1_is_that_of_the_specification(tmp_path):
    """Locally connected and connected too; in inference dropout does nothing."""
    head = (
        "[local]\nsize=3\npad=1\nfilters=3\nactivation=leaky\n[dropout]\n[connected]\noutput=108\nactivation=linear\n"
    )
    model = randomised(native(grid=3))
    cfg, weights, picture = stored(model, chain_cfg(NARROW, 48, head), tmp_path)
    maps = darknet(cfg.read_text(), weights.read_bytes(), picture / 255)
    agree(model(picture[None])[0], maps[-1].ravel(), 1e-4)


@pytest.fixture
def opencv():
    """(cfg file, weights file, picture, names of layers) to their maps (H, W, channels), by OpenCV."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip(f"OpenCV {cv2.__version__} has no Darknet importer; install opencv-python-headless<5")

    def run(cfg, weights, picture, names=None):
        net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
        net.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None] / 255, dtype="float32"))
        return net.forward() if names is None else [one[0].transpose(1, 2, 0) for one in net.forward(names)]

    return run


@pytest.mark.parametrize("net", [name for name in NETS if "relu" not in NETS[name]], indirect=True)
def test_maps_are_those_of_opencv(net, opencv):
    """Which reads leaky, mish, swish and logistic only, and adds 1e-6 to a variance."""
    model, cfg, weights, picture = net
    maps = opencv(cfg, weights, picture, [f"conv_{index}" for index in raw_maps(cfg.read_text())])
    for one, other in zip(by_size(one[0] for one in model(picture[None]).values()), by_size(maps), strict=True):
        agree(one, other, 1e-3)


def test_published_tiny_is_that_of_opencv(tiny, opencv, tmp_path):
    cfg, weights, picture = stored(tiny, yolov3_cfg("yolov3-tiny"), tmp_path)
    found = tiny(picture[None])
    for level, other in zip(("p5", "p4"), opencv(cfg, weights, picture, ["conv_15", "conv_22"]), strict=True):
        agree(found[level][0], other, 1e-3)


def test_convolutions_of_yolov1_are_those_of_opencv(opencv, tmp_path):
    """A sixteenth of their width; with a connected layer behind them, as OpenCV knows no local one."""
    stages = [[layer if layer == POOL else (layer[0] // 16, *layer[1:]) for layer in stage] for stage in YOLOV1]
    image = keras.Input((128, 128, 3), name="image")
    features = yolov1_encoder(stages)(image)["c5"]
    x = keras.layers.Dense(11, name="predictions")(keras.layers.Flatten(name="flatten")(features))
    model = randomised(keras.Model(image, x))
    cfg = chain_cfg(stages, 128, "[connected]\noutput=11\nactivation=linear\n")
    cfg, weights, picture = stored(model, cfg, tmp_path)
    agree(model(picture[None]), opencv(cfg, weights, picture), 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov3-tiny", "yolo-fastest-1.1-xl"])
def test_published_weights_are_those_of_opencv(name, opencv, shared_weights):
    """On a photo; with Darknet's epsilon of 1e-5 for variances, and with OpenCV's 1e-6 more closely."""
    cfg, weights = (shared_weights / name / f"{name}.{kind}" for kind in ("cfg", "weights"))
    sections = parse(cfg.read_text())
    network = yolov3(sections)
    darknet_weights.read(weights, network)
    with PIL.Image.open(PHOTO) as photo:
        picture = np.asarray(photo.convert("RGB").resize(image_size(sections)[::-1]), "float32")
    expected = by_size(opencv(cfg, weights, picture, [f"conv_{index}" for index in raw_maps(cfg.read_text())]))
    # Real variances are far above both.
    smallest = min(np.min(v) for v in network.weights if v.name == "moving_variance")
    assert smallest > 1e-4
    for epsilon, tolerance in ((1e-5, 2e-3), (1e-6, 2e-4)):
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.epsilon = epsilon
        for one, other in zip(by_size(one[0] for one in network(picture[None]).values()), expected, strict=True):
            agree(one, other, tolerance)

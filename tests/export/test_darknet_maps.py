"""The maps of nets from Darknet's files, compared with Darknet in NumPy and with OpenCV."""

from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
from darknet_reference import NARROW, NETS, chain_cfg, darknet, native, randomised, raw_maps

from kerastransfer.encoders.yolov1 import POOL, YOLOV1, yolov1_encoder
from kerastransfer.export import darknet_weights
from kerastransfer.models.darknet_cfg import image_size, parse
from kerastransfer.models.darknet_nets import yolov3_cfg
from kerastransfer.models.yolov3 import yolov3

PHOTO = next((Path(__file__).parent.parent / "data" / "photos" / "voc").rglob("*.jpg"))


def agree(found, expected, tolerance):
    """The largest difference is within `tolerance` of the map's range."""
    found, expected = np.array(found), np.array(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < tolerance * np.ptp(expected)
    assert np.ptp(expected) > 0.1


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


def by_size(maps):
    return sorted((np.array(one) for one in maps), key=len)


@pytest.fixture(scope="module")
def tiny():
    """yolov3-tiny as it is published, with drawn weights."""
    return randomised(yolov3(yolov3_cfg("yolov3-tiny")))


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

"""Small models of the two forms that are exported, and photos to hold their files against."""

import numpy as np
import pytest

SIZE = (64, 96)
CLASSES = 3
LABELS = ("cat", "dog", "hen")
CONVOLUTION = "[convolutional]\nbatch_normalize=1\n"
STRIDED = "size=3\nstride=2\npad=1\nactivation=relu6\n"
NET = "\n[net]\nwidth=96\nheight=64\nchannels=3\n"
GRID = """[convolutional]
batch_normalize=1
filters={filters}
size=1
stride=1
pad=1
activation=relu6
[convolutional]
size=1
stride=1
pad=1
filters=8
activation=linear
[yolo]
mask={mask}
anchors=20,14, 40,50
classes=3
num=2
"""


def small() -> str:
    """A cfg: a trunk of four convolutions, and a grid at each of the strides 16 and 8."""
    trunk = "".join(f"{CONVOLUTION}{STRIDED}filters={filters}\n" for filters in (8, 8, 8, 10))
    return f"{NET}{trunk}{GRID.format(filters=12, mask=1)}[route]\nlayers=2\n{GRID.format(filters=8, mask=0)}"


@pytest.fixture(scope="session")
def networks():
    """{"detection": image to boxes and scores, "segmentation": image to probabilities}, of the layers that the package
    builds with: padding, strided and pointwise convolution, batch norm, leaky ReLU, pool, transposed convolution."""
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(1)

    def conv_bn(x, filters, stride=1):
        x = layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(filters, 3, stride, use_bias=False)(x)
        return layers.LeakyReLU(negative_slope=0.1)(layers.BatchNormalization(beta_initializer="random_normal")(x))

    image = keras.Input((None, None, 3), name="image")
    half = conv_bn(layers.Rescaling(1 / 255)(image), 8, 2)
    quarter = layers.MaxPooling2D(2)(conv_bn(half, 16))
    encoder = keras.Model(image, {"c1": half, "c2": quarter}, name="encoder")

    image = keras.Input((*SIZE, 3), name="image")
    raw = layers.Conv2D(4 + CLASSES, 1, name="raw")(encoder(image)["c2"])
    raw = layers.Reshape((-1, 4 + CLASSES))(raw)
    centres, sizes = ops.sigmoid(raw[..., :2]), ops.sigmoid(raw[..., 2:4]) / 2
    boxes = ops.clip(ops.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1), 0, 1)
    detector = keras.Model(image, {"boxes": boxes, "scores": ops.sigmoid(4 * raw[..., 4:])}, name="detector")

    image = keras.Input((*SIZE, 3), name="image")
    taps = encoder(image)
    x = layers.Conv2DTranspose(8, 2, 2, activation="relu", bias_initializer="random_normal")(taps["c2"])
    x = layers.Conv2DTranspose(8, 2, 2)(layers.Concatenate()([x, taps["c1"]]))
    x = layers.Softmax(dtype="float32")(layers.Conv2D(CLASSES, 1, bias_initializer="random_normal")(3 * x))
    return {"detection": detector, "segmentation": keras.Model(image, {"segmentation": x}, name="segmenter")}


@pytest.fixture(scope="session")
def instance_network():
    """Image to boxes, scores, labels, masks and count: a net that finds much in a photo, and nothing in a black one.

    Its weights are random, those of raw predictions and masks large; black passes all but the last biases as 0.
    """
    import keras

    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.models import darknet_cfg, yolo_mask
    from kerastransfer.models.yolov3 import yolov3

    keras.utils.set_random_seed(2)
    sections = darknet_cfg.parse(small())
    found = darknet_cfg.anchors_of(sections)
    network = yolo_mask.yolo_mask(yolov3(sections), CLASSES, fine=("c2",), filters=8, convs=1, activation="relu6")
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[0] == 1:
            raw = layer.name in ("conv_5", "conv_9")
            layer.kernel.assign(keras.random.normal(layer.kernel.shape, stddev=1.8 if raw else 1.0, seed=3))
    codec = YoloV3Codec(CLASSES, found.anchors, found.levels)
    return yolo_mask.instances(network, codec, MaskCodec(), SIZE, score_threshold=0.25, max_detections=30)


@pytest.fixture(scope="session")
def instance_contents(instance_network, drawn):
    """{kind: the content of a file without metadata}."""
    from kerastransfer.export import tflite

    return {kind: tflite.convert(instance_network, SIZE, kind, drawn) for kind in tflite.KINDS}


@pytest.fixture(scope="session")
def instance_files(instance_contents, tmp_path_factory):
    """{kind: path} of files with metadata."""
    from kerastransfer.tasks import metadata
    from kerastransfer.tasks.about import About, Thresholds

    folder = tmp_path_factory.mktemp("instances")
    paths = {}
    for kind, content in instance_contents.items():
        about = About("instances", LABELS, SIZE, kind=kind, thresholds=Thresholds(score=0.3))
        paths[kind] = folder / f"instances_{kind}.tflite"
        paths[kind].write_bytes(metadata.attach(content, about))
    return paths


@pytest.fixture(scope="session")
def drawn():
    """Twelve smooth pictures (h, w, 3) uint8 of no certain size."""
    from PIL import Image

    random = np.random.default_rng(0)
    small = random.integers(0, 256, (12, 6, 8, 3), np.uint8)
    return [np.asarray(Image.fromarray(picture).resize((80 + 9 * n, 70))) for n, picture in enumerate(small)]


@pytest.fixture(scope="session")
def photo_paths(shared_data):
    return sorted((shared_data / "oxford-iiit-pet" / "images").glob("*.jpg"))[::40]


@pytest.fixture(scope="session")
def photos(photo_paths):
    from kerastransfer.tasks import images

    return [images.read(path) for path in photo_paths]


@pytest.fixture(scope="session")
def exported(networks, drawn, tmp_path_factory):
    """{(task, kind): path} of files with metadata."""
    from kerastransfer.export import tflite
    from kerastransfer.tasks import metadata
    from kerastransfer.tasks.about import About, Thresholds

    folder = tmp_path_factory.mktemp("exported")
    paths = {}
    for task, network in networks.items():
        labels = ("background", "cat", "dog") if task == "segmentation" else ("cat", "dog", "hen")
        for kind in tflite.KINDS:
            about = About(task, labels, SIZE, kind=kind, thresholds=Thresholds(score=0.3))
            path = folder / f"{task}_{kind}.tflite"
            path.write_bytes(metadata.attach(tflite.convert(network, SIZE, kind, drawn), about))
            paths[task, kind] = path
    return paths

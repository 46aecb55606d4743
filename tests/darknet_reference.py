"""Nets of Darknet for tests, with random weights, and what Darknet computes of them, in NumPy."""

import keras
import numpy as np

from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import POOL, layers_by_name, yolov1_encoder
from kerastransfer.models.darknet_cfg import parse
from kerastransfer.models.darknet_nets import yolov3_cfg
from kerastransfer.models.yolov1 import yolov1

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


def native(grid=2):
    """A small YOLOv1 in Darknet's form: convolutions, locally connected, connected."""
    codec = YoloV1Codec(num_classes=2, layout="darknet", score="product", sizes="root")
    side = 16 * grid
    encoder = yolov1_encoder(NARROW)
    image = keras.Input((side, side, 3))
    encoder = keras.Model(image, encoder(image), name="encoder")
    return yolov1(encoder, codec, head="darknet_local", grid=grid, hidden=3)


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


NETS = {
    "yolov3": yolov3_cfg("yolov3", width=0.05, num_classes=2, image_size=(64, 96)),
    "yolov3-spp": yolov3_cfg("yolov3-spp", width=0.05, num_classes=2, image_size=(64, 96)),
    "yolov3-tiny": yolov3_cfg("yolov3-tiny", width=0.1, num_classes=2, image_size=(64, 96)),
    "yolov3-small": yolov3_cfg("yolov3-small", width=0.5, num_classes=2, image_size=(64, 96)),
    "own": OWN,
    "wild": WILD,
    "own, relu": OWN.replace("leaky", "relu6").replace("mish", "relu"),
}


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

"""YOLOv3 (Redmon and Farhadi 2018) and its family, built from Darknet's cfg text.

Layers are named by kind and Darknet's index: "conv_36", "conv_36_bn", "shortcut_4". Weights files are in the order of
the indices.
"""

import math
from collections.abc import Mapping, Sequence

import keras

from kerastransfer.errors import UserError
from kerastransfer.layers import blocks
from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.models.darknet_cfg import Detections, Section, Shape, anchors_of, sections_of, shapes
from kerastransfer.models.parts import feed

# By Darknet's names.
ACTIVATIONS = {
    **blocks.ACTIVATIONS,
    "linear": None,
    "logistic": lambda name: keras.layers.Activation("sigmoid", name=name),
    "mish": lambda name: keras.layers.Activation("mish", name=name),
    "swish": lambda name: keras.layers.Activation("swish", name=name),
}
# The probability of an object at any place, before training.
RARE = 0.01


def yolov3(
    cfg: str | Sequence[Section], *, trunk: int | None = None, rare_objects: bool = True, name: str = "yolov3"
) -> keras.Model:
    """From image (B, H, W, 3) in 0..255, with sides that are multiples of the largest stride, to raw maps
    {"p3": (B, H / 8, W / 8, A * (5 + C)), "p4", "p5"}. A level is named by the base-2 logarithm of its stride. For each
    anchor there are tx, ty, tw, th, objectness, and the classes, all before any sigmoid.

    cfg: text, or sections from `darknet_cfg.parse`. The net has three parts:
        "encoder": the first `trunk` sections, to {"c1".."c5"}, the last map of each stride. By default the trunk ends
            with the last shortcut before the heads, or, if there is none, with the first of the widest convolutions:
            75 sections of yolov3 and yolov3-spp, 13 of yolov3-tiny.
        "head": the linear convolution before each [yolo], and the convolution before that, if no other section reads it
            and it does not read a route. It reads {"p3", "p4", "p5"}.
        "decoder": everything between.
    rare_objects: start with an objectness of 0.01 everywhere, so that background does not dominate the first steps.
    Raises UserError, naming section and line, for what does not fit.
    """
    sections = sections_of(cfg)
    found, detections = shapes(sections), anchors_of(sections)
    # The first is [net], which Darknet does not count.
    sections = sections[1:]
    chains = _chains(sections, found)
    in_head = {index for chain in chains.values() for index in chain}
    _check_reading(sections, in_head)
    trunk = _trunk(sections, min(in_head)) if trunk is None else trunk
    if not 0 < trunk <= min(in_head):
        raise UserError(f"a trunk of {trunk} sections: the head begins at {min(in_head)}; give 1 to {min(in_head)}")

    taps = {f"c{int(math.log2(found[index].stride))}": index for index in range(trunk) if _is_tap(found[index])}
    feet = {level: sections[chain[0]].sources[0] for level, chain in chains.items()}
    between = [section for section in sections[trunk:] if section.index not in in_head and section.kind != "yolo"]
    wanted = {source for section in between for source in section.sources} | set(feet.values())
    named = {index: tap for tap, index in taps.items()}
    read = {named.get(index, f"section_{index}"): index for index in sorted(wanted) if index < trunk}

    encoder = _encoder(sections[:trunk], taps | read)
    decoder = _part("decoder", between, read, feet, found)
    outputs = {level: chain[-1] for level, chain in chains.items()}
    head = _part("head", [sections[index] for index in sorted(in_head)], feet, outputs, found)
    if rare_objects:
        _expect_few(head, outputs, detections)
    image = keras.Input((None, None, 3), name="image")
    return keras.Model(image, feed(head, feed(decoder, encoder(image))), name=name)


def _chains(sections: Sequence[Section], found: Sequence[Shape]) -> dict[str, tuple[int, ...]]:
    """{level: indices of the one or two convolutions of its head}, in the order of the cfg."""
    readers: dict[int, int] = {}
    for section in sections:
        for source in section.sources:
            readers[source] = readers.get(source, 0) + 1
    chains = {}
    for section in sections:
        if section.kind != "yolo":
            continue
        last = section.index - 1
        if section.index in readers or readers[last] > 1:
            raise UserError(f"{section}: another section reads it or the convolution before it; route around both")
        first = sections[last].sources[0]
        alone = first > 0 and sections[first].kind == "convolutional" and readers[first] == 1
        taken = alone and sections[first - 1].kind not in ("route", "yolo")
        level = f"p{int(math.log2(found[last].stride))}"
        chains[level] = (first, last) if taken else (last,)
    return dict(sorted(chains.items()))


def _check_reading(sections: Sequence[Section], in_head: set[int]) -> None:
    """Refuse sections that Keras would silently leave out of the graph, so that their weights would be missing."""
    needed = set(in_head)
    for section in reversed(sections):
        if section.index in needed:
            needed.update(section.sources)
    if -1 in in_head or not needed - in_head - {-1}:
        raise UserError("cfg: has nothing before the head; give a net with a trunk")
    for section in sections:
        if section.kind != "yolo" and section.index not in needed:
            raise UserError(f"{section}: no [yolo] needs it; take it out, or route to it")


def _trunk(sections: Sequence[Section], head: int) -> int:
    """The number of sections in the encoder. head: the index at which the first head begins."""
    shortcuts = [section.index for section in sections[:head] if section.kind == "shortcut"]
    if shortcuts:
        return shortcuts[-1] + 1
    widths = [section.integer("filters", 1) * (section.kind == "convolutional") for section in sections[:head]]
    return widths.index(max(widths)) + 1


def _is_tap(shape: Shape) -> bool:
    return shape.stride >= 2 and math.log2(shape.stride).is_integer()


def _encoder(sections: Sequence[Section], taps: Mapping[str, int]) -> keras.Model:
    image = keras.Input((None, None, 3), name="image")
    maps = {-1: keras.layers.Rescaling(1 / 255, name="rescale")(image)}
    _run(sections, maps)
    return keras.Model(image, {tap: maps[index] for tap, index in taps.items()}, name="encoder")


def _part(name, sections, inputs, outputs, found) -> keras.Model:
    """The part of a net from `inputs` to `outputs`, both {name: index of the section}."""
    read = {key: keras.Input((None, None, found[index].channels), name=key) for key, index in inputs.items()}
    maps = {index: read[key] for key, index in inputs.items()}
    _run(sections, maps)
    given = {}
    for key, index in outputs.items():
        # A map that this part does not change.
        passed = index in inputs.values()
        given[key] = keras.layers.Identity(name=f"{key}_map")(maps[index]) if passed else maps[index]
    return keras.Model(read, given, name=name)


def _run(sections: Sequence[Section], maps: dict) -> None:
    """Add the output of each section to `maps`, by index."""
    for section in sections:
        maps[section.index] = LAYERS[section.kind](section, [maps[source] for source in section.sources])


def _convolution(section, read):
    name, kernel, stride = f"conv_{section.index}", section.integer("size", 1), section.integer("stride", 1)
    x, padding = read[0], "same"
    if stride > 1 or 2 * section.padding != kernel - 1:
        x, padding = blocks.pad(x, section.padding, name), "valid"
    normalised = bool(section.integer("batch_normalize", 0))
    filters, groups = section.integer("filters", 1), section.integer("groups", 1)
    options = {
        "padding": padding,
        "use_bias": not normalised,
        "name": name,
        # Raw predictions are float32.
        "dtype": None if normalised or section.activation != "linear" else "float32",
    }
    if 1 < groups == read[0].shape[-1]:
        # TensorFlow and LiteRT have an operator for one group per channel.
        x = keras.layers.DepthwiseConv2D(kernel, stride, depth_multiplier=filters // groups, **options)(x)
    else:
        x = keras.layers.Conv2D(filters, kernel, stride, groups=groups, **options)(x)
    if normalised:
        x = BatchNorm(name=f"{name}_bn")(x)
    return _activated(x, section, name)


def _activated(x, section, name):
    if section.activation not in ACTIVATIONS:
        raise UserError(f"{section}: activation={section.activation} is unknown; known are {', '.join(ACTIVATIONS)}")
    layer = ACTIVATIONS[section.activation]
    return x if layer is None else layer(f"{name}_{section.activation}")(x)


def _maxpool(section, read):
    """TensorFlow's "same" equals Darknet's padding if the stride is 1 or the window has at most 2 places."""
    stride, padding = section.integer("stride", 1), section.padding
    size = section.integer("size", stride)
    x, name = read[0], f"maxpool_{section.index}"
    if padding == size - 1 and (stride == 1 or size <= 2):
        return keras.layers.MaxPooling2D(size, stride, padding="same", name=name)(x)
    if padding:
        border = (padding // 2, padding - padding // 2)
        x = keras.ops.pad(x, ((0, 0), border, border, (0, 0)), constant_values=-math.inf)
    return keras.layers.MaxPooling2D(size, stride, name=name)(x)


def _upsample(section, read):
    return keras.layers.UpSampling2D(section.integer("stride", 2), name=f"upsample_{section.index}")(read[0])


def _route(section, read):
    taken = []
    for one in read:
        begin, end = section.channels(one.shape[-1])
        taken.append(one if (begin, end) == (0, one.shape[-1]) else one[..., begin:end])
    return keras.layers.Concatenate(name=f"route_{section.index}")(taken) if len(taken) > 1 else taken[0]


def _avgpool(section, read):
    return keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"avgpool_{section.index}")(read[0])


def _product(section, read):
    """[sam] multiplies two maps, [scale_channels] a map by a number for each of its channels."""
    name = f"{section.kind}_{section.index}"
    return _activated(keras.layers.Multiply(name=name)(read), section, name)


def _dropout(section, read):
    """The identity, as in Darknet when a net is used; here it is the identity in training too."""
    return read[0]


def _shortcut(section, read):
    x = keras.layers.Add(name=f"shortcut_{section.index}")(read)
    return _activated(x, section, f"shortcut_{section.index}")


LAYERS = {
    "convolutional": _convolution,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "upsample": _upsample,
    "route": _route,
    "shortcut": _shortcut,
    "scale_channels": _product,
    "sam": _product,
    "dropout": _dropout,
}


def _expect_few(head: keras.Model, outputs: Mapping[str, int], detections: Detections) -> None:
    """Set the bias of each objectness to the logit of RARE."""
    for level in detections.levels:
        bias = head.get_layer(f"conv_{outputs[level.name]}").bias
        values = keras.ops.convert_to_numpy(bias).reshape(len(level.mask), -1).copy()
        values[:, 4] = math.log(RARE / (1 - RARE))
        bias.assign(values.reshape(-1))

"""ResNets, built from tables (He et al. 2016, table 1), also with deformable convolutions."""

import functools
from collections.abc import Callable

import keras

from kerastransfer.encoders.preprocessing import function_of
from kerastransfer.layers.blocks import activate, conv_bn, pad

# Of the stages c2 to c5: (filters of a 3 x 3 convolution, residual blocks). The stem has the filters of c2.
RESNET18 = ((64, 2), (128, 2), (256, 2), (512, 2))
RESNET34 = RESNET50 = ((64, 3), (128, 4), (256, 6), (512, 3))
RESNET101 = ((64, 3), (128, 4), (256, 23), (512, 3))

NETS = {
    "resnet18": {"stages": RESNET18, "block": "basic"},
    "resnet34": {"stages": RESNET34, "block": "basic"},
    "resnet50": {"stages": RESNET50},
    "resnet101": {"stages": RESNET101},
    "resnet101_dcn": {"stages": RESNET101, "deformable": 2},
}


def resnet(
    stages=RESNET50,
    *,
    block: str = "bottleneck",
    stride_in: str = "1x1",
    deformable: int = 0,
    preprocessing: str | Callable = "caffe",
    epsilon: float = 1e-5,
    name: str = "encoder",
) -> keras.Model:
    """From image (B, H, W, 3) in 0..255 to taps {"c1".."c5"} of strides 2 to 32: c1 is behind the convolution of the
    stem, c2 to c5 are the ends of the stages.

    block: "basic", two 3 x 3 convolutions, or "bottleneck", 1 x 1, 3 x 3 and 1 x 1 with four times the filters.
    stride_in: which convolution of a bottleneck has the stride: "1x1", the first one, as published (Caffe,
        keras.applications, the weights that LabelEnc starts from), or "3x3" (PyTorch).
    deformable: make the 3 x 3 convolutions of c3, c4 and c5 deformable: 1 with offsets alone, 2 with factors as well
        (`layers.deformable`).
    preprocessing: what is done with pixels: a name in `encoders.preprocessing`, or a function. "caffe" and "torch" are
        what weights from there need.
    epsilon: of batch normalization.
    Padding is symmetric, as in Caffe and PyTorch. Raises UserError for an unknown preprocessing, and ValueError for
    other unknown options.
    """
    if block not in BLOCKS or stride_in not in ("1x1", "3x3") or deformable not in (0, 1, 2):
        raise ValueError(
            f"block={block!r}, stride_in={stride_in!r}, deformable={deformable!r}: choose a block of "
            f"{', '.join(BLOCKS)}, '1x1' or '3x3', and 0, 1 or 2"
        )
    image = keras.Input((None, None, 3), name="image")
    conv = functools.partial(conv_bn, activation="relu", epsilon=epsilon)
    x = conv(function_of(preprocessing)(image), stages[0][0], 7, 2, name="c1")
    maps = {"c1": x}
    # No value is below 0 here, so that padding with 0 does not change a maximum.
    x = keras.layers.MaxPooling2D(3, 2, name="c2_pool")(pad(x, 1, "c2_pool"))
    for number, (filters, blocks) in enumerate(stages, start=2):
        spatial = functools.partial(conv, deformable=deformable if number > 2 else 0)
        for index in range(1, blocks + 1):
            stride = 2 if number > 2 and index == 1 else 1
            build, at = BLOCKS[block], f"c{number}_{index}"
            y = build(x, filters, stride, conv, spatial, name=at, stride_in=stride_in)
            if stride > 1 or x.shape[-1] != y.shape[-1]:
                x = conv(x, y.shape[-1], 1, stride, name=f"{at}_shortcut", activation=None)
            x = activate(keras.layers.Add(name=f"{at}_add")([x, y]), "relu", at)
        maps[f"c{number}"] = x
    return keras.Model(image, maps, name=name)


def _basic(x, filters, stride, conv, spatial, *, name, stride_in):
    x = spatial(x, filters, 3, stride, name=f"{name}_1")
    return spatial(x, filters, 3, name=f"{name}_2", activation=None)


def _bottleneck(x, filters, stride, conv, spatial, *, name, stride_in):
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    x = conv(x, filters, 1, first, name=f"{name}_1")
    x = spatial(x, filters, 3, second, name=f"{name}_2")
    return conv(x, 4 * filters, 1, name=f"{name}_3", activation=None)


BLOCKS = {"basic": _basic, "bottleneck": _bottleneck}


def resnet18(**options) -> keras.Model:
    """ResNet-18 with random weights; `options` as for `resnet`."""
    return resnet(**{**NETS["resnet18"], **options})


def resnet34(**options) -> keras.Model:
    """ResNet-34 with random weights; `options` as for `resnet`."""
    return resnet(**{**NETS["resnet34"], **options})


def resnet50(**options) -> keras.Model:
    """ResNet-50 with random weights; `options` as for `resnet`. With weights of ImageNet it is the preset resnet-50."""
    return resnet(**{**NETS["resnet50"], **options})


def resnet101(**options) -> keras.Model:
    """ResNet-101 with random weights; `options` as for `resnet`. With weights of ImageNet it is the preset
    resnet-101."""
    return resnet(**{**NETS["resnet101"], **options})


def resnet101_dcn(**options) -> keras.Model:
    """ResNet-101 with modulated deformable convolutions in c3 to c5 (Zhu et al. 2019, section 2.1) and random weights;
    `options` as for `resnet`."""
    return resnet(**{**NETS["resnet101_dcn"], **options})

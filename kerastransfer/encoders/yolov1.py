"""YOLOv1's convolutional encoders, built from tables (YOLOv1, Redmon et al. 2016, section 2.1)."""

import itertools
from collections.abc import Sequence

import keras

from kerastransfer.layers.blocks import conv_bn
from kerastransfer.layers.dilated_max_pool import DilatedMaxPool

# A 2 x 2 max-pool of stride 2.
POOL = "pool"

# Tables of five stages. A row is (filters, kernel), (filters, kernel, 2), POOL, or a residual block: several of these,
# whose output is added to their input. The output of a stage is its tap.
YOLOV1 = (
    ((64, 7, 2), POOL),
    ((192, 3), POOL),
    ((128, 1), (256, 3), (256, 1), (512, 3), POOL),
    (*((256, 1), (512, 3)) * 4, (512, 1), (1024, 3), POOL),
    (*((512, 1), (1024, 3)) * 2, (1024, 3), (1024, 3, 2), (1024, 3), (1024, 3)),
)
FAST_YOLO = (
    ((16, 3), POOL, (32, 3), POOL),
    ((64, 3), POOL),
    ((128, 3), POOL),
    ((256, 3), POOL),
    ((512, 3), POOL, (1024, 3), (1024, 3), (1024, 3)),
)
# Ours, for two CPU cores: YOLOv1's alternation of 1 x 1 and 3 x 3, with the shortcuts of YOLOv3 (Redmon and Farhadi
# 2018, section 2.4). The last stage keeps the stride of 16. Without either, the encoder cannot even fit a small data
# set; and decoders benefit from depth at stride 8 (docs/results.md).
SMALL = (
    ((32, 3, 2),),
    ((64, 3, 2), ((32, 1), (64, 3))),
    ((128, 3, 2), *(((64, 1), (128, 3)),) * 3),
    ((256, 3, 2), *(((128, 1), (256, 3)),) * 2),
    ((512, 3), ((256, 1), (512, 3))),
)

TABLES = {"yolov1": YOLOV1, "fast_yolo": FAST_YOLO, "small": SMALL}
# The head has the same one.
ACTIVATIONS = {"yolov1": "leaky", "fast_yolo": "leaky", "small": "relu6"}


def yolov1_encoder(
    stages=YOLOV1,
    *,
    strides: Sequence[int] | None = None,
    dilate: bool = False,
    activation: str = "leaky",
    name: str = "encoder",
) -> keras.Model:
    """From image (B, H, W, 3) in 0..255 to taps {"c1".."c5"}, each (B, H / s, W / s, D).

    strides: the stride of each layer that has stride 2 in the table, in order; by default 2. A pool of stride 1 has the
        size 1 x 1. No weight depends on the strides, so a trained encoder can be rebuilt with others (`strides_to`).
    dilate: replace each removed stride by dilating all following layers, max-pools included ("a trous"). A tap then has
        at every offset what the strided encoder has at every s-th pixel.
    activation: "leaky" (Darknet's) or "relu6".
    YOLOv1 at 448: c1 112 x 112 x 64, c2 56 x 56 x 192, c3 28 x 28 x 512, c4 14 x 14 x 1024, c5 7 x 7 x 1024.
    Raises ValueError if the number of strides does not fit the table, or if a stride remains after a dilation.
    """
    strided = sum(map(is_strided, layers_by_name(stages).values()))
    strides = [2] * strided if strides is None else list(strides)
    if len(strides) != strided:
        raise ValueError(f"{len(strides)} strides came for {strided} strided layers: give one for each")
    if dilate and sorted(strides, reverse=True) != strides:
        raise ValueError(f"strides {strides} have one behind a dilation, which no convolution has: take the last away")
    remaining = iter(strides)
    # The dilation of the following layers.
    dilation = 1

    def apply(x, layer, layer_name):
        nonlocal dilation
        rate, stride = dilation, next(remaining) if is_strided(layer) else 1
        if dilate and is_strided(layer) and stride == 1:
            dilation *= 2
            if layer == POOL:
                return DilatedMaxPool(rate, name=f"{layer_name}_pool")(x)
        if layer == POOL:
            return keras.layers.MaxPooling2D(stride, stride, name=f"{layer_name}_pool")(x)
        return conv_bn(x, *layer[:2], stride, dilation=rate, name=layer_name, activation=activation)

    image = keras.Input((None, None, 3), name="image")
    x, maps = keras.layers.Rescaling(1 / 255, name="rescale")(image), {}
    for number, stage in enumerate(stages, start=1):
        names = (f"c{number}_{index}" for index in itertools.count(1))
        for row in stage:
            start = x
            for layer in block(row):
                layer_name = next(names)
                x = apply(x, layer, layer_name)
            if row is block(row):
                x = keras.layers.Add(name=f"{layer_name}_add")([start, x])
        maps[f"c{number}"] = x
    return keras.Model(image, maps, name=name)


def block(row) -> tuple:
    """The layers of a row: a residual block has several, any other row is a single layer."""
    return row if isinstance(row[0], tuple) else (row,)


def is_strided(layer) -> bool:
    """Whether a layer of a table has a stride, which can be removed."""
    return layer == POOL or len(layer) == 3


def layers_by_name(stages) -> dict[str, tuple | str]:
    """{"c1_1": (filters, kernel, 2), "c1_2": POOL, ...}: the layers of a table, by the names that the builder uses."""
    return {
        f"c{number}_{index}": layer
        for number, stage in enumerate(stages, start=1)
        for index, layer in enumerate((layer for row in stage for layer in block(row)), start=1)
    }


def strides_to(stages, output_stride: int) -> list[int]:
    """Strides for `yolov1_encoder` with a total of `output_stride`, from which the last ones are removed.

    Raises ValueError unless it is a power of two, up to the total stride of the table.
    """
    strided = sum(map(is_strided, layers_by_name(stages).values()))
    kept = output_stride.bit_length() - 1
    if output_stride != 1 << max(kept, 0) or kept > strided:
        choice = ", ".join(str(1 << power) for power in range(strided + 1))
        raise ValueError(f"output stride {output_stride}: choose one of {choice}")
    return [2] * kept + [1] * (strided - kept)


def fast_yolo_encoder(**options) -> keras.Model:
    """Fast YOLO's nine convolutions; `options` as for `yolov1_encoder`."""
    return yolov1_encoder(FAST_YOLO, **options)


def small_encoder(**options) -> keras.Model:
    """Nineteen convolutions with a total stride of 16, for two CPU cores; `options` as for `yolov1_encoder`.

    ReLU6 suits int8 files (MobileNetV2, Sandler et al. 2018): it is fused into the convolution, and no rare large value
    uses up the 256 steps. With a leaky or an unbounded ReLU, the boxes of an int8 detector are useless.
    """
    return yolov1_encoder(SMALL, **{"activation": ACTIVATIONS["small"], **options})

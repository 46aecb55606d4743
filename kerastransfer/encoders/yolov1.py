"""YOLOv1's convolutional encoders: one table each, one builder (spec/01 section 1)."""

import itertools
from collections.abc import Sequence

import keras

from kerastransfer.layers.blocks import conv_bn

POOL = "pool"  # max-pool 2 x 2 of stride 2

# Five stages; a row is (filters, kernel), (filters, kernel, 2), POOL, or a residual block: several of these, whose
# output is added to what they read. A stage's output is its tap.
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
# Ours, for two cores: YOLOv1's alternation of 1 x 1 and 3 x 3, with YOLOv3's shortcuts (its section 2.4). The last
# stage keeps the stride of 16. Without either, a small data set is not even learnt by heart; and a decoder gains by
# depth at stride 8 (docs/results.md).
SMALL = (
    ((32, 3, 2),),
    ((64, 3, 2), ((32, 1), (64, 3))),
    ((128, 3, 2), *(((64, 1), (128, 3)),) * 3),
    ((256, 3, 2), *(((128, 1), (256, 3)),) * 2),
    ((512, 3), ((256, 1), (512, 3))),
)

ACTIVATIONS = {"yolov1": "leaky", "fast_yolo": "leaky", "small": "relu6"}  # the head's follows


def yolov1_encoder(
    stages=YOLOV1, *, strides: Sequence[int] | None = None, activation: str = "leaky", name: str = "encoder"
) -> keras.Model:
    """Image (B, H, W, 3) in 0..255 to taps {"c1".."c5"}, each (B, H / s, W / s, D).

    strides: one for each layer that has stride 2 in the table, in order; 2 each by default. With 1 a pool is of size
        1 x 1. No weight depends on them, so a trained encoder may be rebuilt with others.
    activation: "leaky" (Darknet's) or "relu6".
    YOLOv1 at 448: c1 112 x 112 x 64, c2 56 x 56 x 192, c3 28 x 28 x 512, c4 14 x 14 x 1024, c5 7 x 7 x 1024.
    Raises ValueError when the number of strides does not fit the table.
    """
    strided = sum(layer == POOL or len(layer) == 3 for stage in stages for row in stage for layer in block(row))
    strides = [2] * strided if strides is None else list(strides)
    if len(strides) != strided:
        raise ValueError(f"{len(strides)} strides came for {strided} strided layers: give one for each")
    remaining = iter(strides)

    def apply(x, layer, layer_name):
        if layer == POOL:
            stride = next(remaining)
            return keras.layers.MaxPooling2D(stride, stride, name=f"{layer_name}_pool")(x)
        filters, kernel, *stride = layer
        stride = next(remaining) if stride else 1
        return conv_bn(x, filters, kernel, stride, name=layer_name, activation=activation)

    image = keras.Input((None, None, 3), name="image")
    x, taps = keras.layers.Rescaling(1 / 255, name="rescale")(image), {}
    for number, stage in enumerate(stages, start=1):
        names = (f"c{number}_{index}" for index in itertools.count(1))
        for row in stage:
            start = x
            for layer in block(row):
                layer_name = next(names)
                x = apply(x, layer, layer_name)
            if row is block(row):
                x = keras.layers.Add(name=f"{layer_name}_add")([start, x])
        taps[f"c{number}"] = x
    return keras.Model(image, taps, name=name)


def block(row) -> tuple:
    """The layers of a table's row: a residual block has several, any other row is one itself."""
    return row if isinstance(row[0], tuple) else (row,)


def fast_yolo_encoder(**options) -> keras.Model:
    """Fast YOLO's nine convolutions; `options` as for `yolov1_encoder`."""
    return yolov1_encoder(FAST_YOLO, **options)


def small_encoder(**options) -> keras.Model:
    """Seventeen convolutions of stride 16, for two cores; `options` as for `yolov1_encoder`.

    With ReLU6, for an int8 file's sake: it is fused into the convolution, and no rare large value takes the 256 steps
    from all others. A detector's boxes survive neither a leaky ReLU nor an unbounded one.
    """
    return yolov1_encoder(SMALL, **{"activation": ACTIVATIONS["small"], **options})


ENCODERS = {"yolov1": yolov1_encoder, "fast_yolo": fast_yolo_encoder, "small": small_encoder}


def tap_strides(encoder: keras.Model) -> dict[str, int]:
    """{"c1": 4, ...}: how many pixels of the image one position of each tap stands for, along a side."""
    side = 1024
    shapes = encoder.compute_output_shape((1, side, side, 3))
    return {tap: side // shape[1] for tap, shape in shapes.items()}

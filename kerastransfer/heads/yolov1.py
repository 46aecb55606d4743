"""The three heads of YOLOv1 (Redmon et al. 2016, section 2.1; Darknet; ElSedfy 2025), from last tap to predictions."""

from collections.abc import Sequence

import keras

from kerastransfer.layers.blocks import conv_bn
from kerastransfer.layers.locally_connected import LocallyConnected


def fully_conv(
    channels: int,
    outputs: int,
    *,
    hidden: Sequence[int] | None = None,
    dilation: int = 1,
    activation: str = "leaky",
    name: str = "head",
) -> keras.Model:
    """From {"c5": (B, S, S, D)} to (B, S, S, C + 5 B), for any S (ElSedfy 2025): a prediction for each cell, which also
    works densely.

    hidden: widths of the two 3 x 3 convolutions, by default D / 2 and D / 4 (512 and 256 on YOLOv1's encoder).
    dilation: that of the 3 x 3 convolutions; above 1 if strides of the encoder were removed.
    activation: "leaky" or "relu6", preferably that of the encoder.
    """
    features = keras.Input((None, None, channels), name="c5")
    x = features
    for number, filters in enumerate(hidden or (channels // 2, channels // 4), start=1):
        x = conv_bn(x, filters, 3, dilation=dilation, name=f"hidden{number}", activation=activation)
    x = keras.layers.Conv2D(outputs, 1, dtype="float32", name="predictions")(x)
    return keras.Model({"c5": features}, x, name=name)


def paper_fc(channels: int, outputs: int, *, grid: int = 7, hidden: int = 4096, name: str = "head") -> keras.Model:
    """From {"c5": (B, S, S, D)} to (B, S, S, C + 5 B), S = grid: two dense layers (Redmon et al. 2016, section 2.1)."""
    features = keras.Input((grid, grid, channels), name="c5")
    x = keras.layers.Flatten(name="flatten")(features)
    x = keras.layers.Dense(hidden, name="hidden")(x)
    x = keras.layers.LeakyReLU(negative_slope=0.1, name="hidden_leaky")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    x = keras.layers.Dense(grid * grid * outputs, dtype="float32", name="predictions")(x)
    x = keras.layers.Reshape((grid, grid, outputs), dtype="float32", name="cells")(x)
    return keras.Model({"c5": features}, x, name=name)


def darknet_local(channels: int, outputs: int, *, grid: int = 7, hidden: int = 256, name: str = "head") -> keras.Model:
    """From {"c5": (B, S, S, D)}, S = grid, to the flat vector (B, S * S * (C + 5 B)) of Darknet's `yolov1.weights`.

    The vector has all class scores, then all confidences, then all boxes: decode it with a codec of layout "darknet".
    """
    features = keras.Input((grid, grid, channels), name="c5")
    x = LocallyConnected(hidden, 3, name="local")(features)
    x = keras.layers.LeakyReLU(negative_slope=0.1, name="local_leaky")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(grid * grid * outputs, dtype="float32", name="predictions")(x)
    return keras.Model({"c5": features}, x, name=name)


HEADS = {"fully_conv": fully_conv, "paper_fc": paper_fc, "darknet_local": darknet_local}

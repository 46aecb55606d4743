"""From a map to a vector for contrastive pretexts: pooling, and the projection of SimCLR (Chen et al. 2020)."""

from typing import Literal

import keras

from kerastransfer.layers.batch_norm import BatchNorm

Pooling = Literal["attention", "average"]
# The standard deviation of the first weights of the projection.
SPREAD = 0.01


def pooling(features: int, kind: Pooling = "average", *, tap: str = "c4", name: str = "pooling") -> keras.Model:
    """From {tap: (B, h, w, D)} to the representation (B, D) of the image.

    kind: "average" over all places, as in SimCLR; or "attention", an average that is weighted by what four 1 x 1
        convolutions say of each place, behind a dropout of one half (ConRec, Dippel et al. 2021). Published with 512
        features: it has 173,441 trainable parameters.
    """
    maps = keras.Input((None, None, features), name=tap)
    if kind == "average":
        return keras.Model({tap: maps}, keras.layers.GlobalAveragePooling2D(name="average")(maps), name=name)
    if kind != "attention":
        raise ValueError(f"kind {kind!r}: choose 'average' or 'attention'")
    x = keras.layers.Dropout(0.5, name="dropout")(maps)
    for number in (1, 2, 3):
        x = keras.layers.Conv2D(max(1, features // 2**number), 1, name=f"attention{number}_conv")(x)
        x = BatchNorm(epsilon=1e-3, name=f"attention{number}_bn")(x)
        x = keras.layers.ReLU(name=f"attention{number}_relu")(x)
    # Float32: sums over many places.
    weight = keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="attention")(x)
    # The same weight for all channels; a convolution of ones that is not trained, as published.
    ones = keras.layers.Conv2D(features, 1, use_bias=False, kernel_initializer="ones", dtype="float32", name="spread")
    ones.trainable = False
    weighted = keras.layers.Multiply(dtype="float32", name="weighted")([ones(weight), maps])
    total = keras.layers.GlobalAveragePooling2D(dtype="float32", name="total")(weighted)
    share = keras.layers.GlobalAveragePooling2D(dtype="float32", name="share")(weight)
    return keras.Model({tap: maps}, total / share, name=name)


def projection(features: int, *, width: int = 512, size: int = 128, name: str = "projection") -> keras.Model:
    """From representations (B, features) to embeddings (B, size), which are compared: three dense layers without bias,
    each with batch normalization, ReLU after the first two, and no offset after the last. As published, from 512
    features, it has 592,000 trainable parameters."""
    vector = keras.Input((features,), name="representation")

    def dense(units, name):
        # One initializer for several layers would give them equal weights.
        start = keras.initializers.RandomNormal(stddev=SPREAD)
        return keras.layers.Dense(units, use_bias=False, kernel_initializer=start, name=name)

    x = vector
    for number in (1, 2):
        x = dense(width, f"dense{number}")(x)
        x = BatchNorm(momentum=0.9, name=f"dense{number}_bn")(x)
        x = keras.layers.ReLU(name=f"dense{number}_relu")(x)
    # BatchNorm is for layers with an offset.
    norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, center=False, name="dense3_bn")
    return keras.Model(vector, norm(dense(size, "dense3")(x)), name=name)

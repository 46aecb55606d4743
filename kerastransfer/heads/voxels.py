"""Heads with a number for each voxel."""

import keras


def voxelwise(features: int, channels: int, *, activation: str | None = None, name: str = "head") -> keras.Model:
    """From {"voxels": (B, D, H, W, C)} to (B, D, H, W, channels), by a 1 x 1 x 1 convolution: logits, or with an
    activation of Keras, such as "sigmoid", what it makes of them."""
    voxels = keras.Input((None, None, None, features), name="voxels")
    # By another name a file of one head never fits another.
    layer = "logits" if activation is None else activation
    out = keras.layers.Conv3D(channels, 1, dtype="float32", activation=activation, name=layer)(voxels)
    return keras.Model({"voxels": voxels}, out, name=name)

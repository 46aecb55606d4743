"""Putting named parts together."""

from collections.abc import Mapping

import keras

from kerastransfer.layers.batch_norm import BatchNorm


def feed(part: keras.Model, maps: Mapping):
    """Give a part exactly the maps it reads: Keras binds a dict with extra keys by position, with only a warning."""
    return part({name: maps[name] for name in part.input})


def freeze(part: keras.Model, kind: str = "full") -> None:
    """kind "full": the part runs in inference mode, batch statistics included. "weights": nothing is trained, but
    batch norm goes on normalising with the batch and moving its statistics, as in the author's code (spec/01
    section 7). Must come before `compile`."""
    if kind not in ("full", "weights"):
        raise ValueError(f"freeze={kind!r}: give 'full' or 'weights'")
    part.trainable = False
    for layer in part.layers:
        if isinstance(layer, BatchNorm):
            layer.drift = kind == "weights"

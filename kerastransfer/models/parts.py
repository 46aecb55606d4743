"""Putting named parts together."""

from collections.abc import Mapping

import keras

from kerastransfer.errors import UserError
from kerastransfer.layers.batch_norm import BatchNorm

# Of batch normalization, as in PyTorch by default. Models that were trained for long have up to 0.999 (MobileNetV2 of
# keras.applications): in a few hundred steps, the statistics of new data would hardly move, and a classifier that had
# learnt its training images gave wrong classes in inference mode.
MOMENTUM = 0.9


def feed(part: keras.Model, maps: Mapping):
    """Call a part with exactly the maps that it reads: Keras binds a dict with extra keys by position, with only a
    warning."""
    return part({name: maps[name] for name in part.input})


def joined(encoder: keras.Model, decoder: keras.Model, head: keras.Model, *, name: str) -> keras.Model:
    """From image (B, H, W, 3) to what the head gives."""
    image = keras.Input(encoder.input.shape[1:], name="image")
    return keras.Model(image, feed(head, feed(decoder, encoder(image))), name=name)


def freeze(part: keras.Model, kind: str = "full") -> None:
    """Freeze a part, including nested parts. Call this before `compile`.

    kind: with "full" the part runs in inference mode, batch statistics included. With "weights" nothing is trained, but
        batch normalization still uses the statistics of the batch and updates its moving statistics, as if gradients
        were switched off in training mode.
    Raises UserError if kind is "weights" and the part has Keras's own BatchNormalization, whose statistics do not
    change while it is frozen.
    """
    if kind not in ("full", "weights"):
        raise ValueError(f"freeze={kind!r}: give 'full' or 'weights'")
    norms = batch_norms(part)
    others = [layer.name for layer in norms if not isinstance(layer, BatchNorm)]
    if others and kind == "weights":
        some = ", ".join(others[:2])
        raise UserError(
            f"freeze 'weights' lets batch statistics move, but {len(others)} layers of {part.name!r} ({some}, ...) are "
            "keras.layers.BatchNormalization, which keeps them while it is frozen: freeze it 'full', or build it "
            "with kerastransfer.layers.BatchNorm"
        )
    part.trainable = False
    for layer in norms:
        if isinstance(layer, BatchNorm):
            layer.drift = kind == "weights"


def freeze_norms(part: keras.Model) -> None:
    """Freeze the batch normalization of a part, including nested parts: its statistics, scales and offsets stay as they
    are, and its convolutions are trained (LabelEnc, Hao et al. 2020, section 4.1). Call this before `compile`.

    A model from the image to one of its stages freezes what comes before it as well:
    `freeze(keras.Model(encoder.input, encoder.output["c2"]))`.
    """
    for layer in batch_norms(part):
        layer.trainable = False
        if isinstance(layer, BatchNorm):
            layer.drift = False


def thaw(part: keras.Model) -> None:
    """Undo `freeze` and `freeze_norms`, which Keras stores in files: the part is trained, statistics included, which
    follow quickly (`quick_to_follow`)."""
    for layer in part._flatten_layers(recursive=True):
        layer.trainable = True
        for variable in layer._trainable_variables:
            variable.trainable = True
        if isinstance(layer, BatchNorm):
            layer.drift = False
    quick_to_follow(part)


def quick_to_follow(part: keras.Model) -> None:
    """Have the batch statistics of a part follow within a few dozen steps of training."""
    for layer in batch_norms(part):
        layer.momentum = min(layer.momentum, MOMENTUM)


def batch_norms(part: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The batch normalization layers of a part, including those of nested parts."""
    layers = part._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]

"""Batch statistics for untrained weights."""

from collections.abc import Iterable

import keras

from kerastransfer.models.parts import batch_norms


def estimate(part: keras.Model, images: Iterable) -> None:
    """Set the moving statistics of all batch normalization layers of a part to the mean over `images`, which yields
    batches (B, H, W, 3). Nested parts are included; a part without batch normalization is not changed.

    With initial statistics the activations of a random encoder fade from layer to layer, which would make it an unfair
    control. Call this before the part is frozen.
    """
    norms = batch_norms(part)
    momenta = [layer.momentum for layer in norms]
    for number, batch in enumerate(images if norms else ()):
        # With this momentum the moving statistics are the mean over all batches so far.
        for layer in norms:
            layer.momentum = number / (number + 1)
        part(batch, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum

"""Batch statistics for weights that were never trained."""

from collections.abc import Iterable

import keras

from kerastransfer.layers.batch_norm import BatchNorm


def estimate(part: keras.Model, images: Iterable) -> None:
    """Set the moving statistics of a part's batch norms to the mean over `images`, batches (B, H, W, 3).

    With its initial statistics a random encoder's activations fade from layer to layer, so as a control it would lose
    for a reason that has nothing to do with what a trained one has learnt. Must come before the part is frozen.
    """
    norms = [layer for layer in part.layers if isinstance(layer, BatchNorm)]
    momenta = [layer.momentum for layer in norms]
    for number, batch in enumerate(images):
        for layer in norms:
            layer.momentum = number / (number + 1)
        part(batch, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum

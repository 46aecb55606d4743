"""Batch statistics for weights that were never trained."""

from collections.abc import Iterable

import keras

from kerastransfer.models.parts import batch_norms


def estimate(part: keras.Model, images: Iterable) -> None:
    """Set the moving statistics of a part's batch norms, those of nested parts included, to the mean over `images`,
    batches (B, H, W, 3). A part without batch norm stays as it is.

    With its initial statistics a random encoder's activations fade from layer to layer, so as a control it would lose
    for a reason that has nothing to do with what a trained one has learnt. Must come before the part is frozen.
    """
    norms = batch_norms(part)
    momenta = [layer.momentum for layer in norms]
    for number, batch in enumerate(images if norms else ()):
        # The mean of all batches so far.
        for layer in norms:
            layer.momentum = number / (number + 1)
        part(batch, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum

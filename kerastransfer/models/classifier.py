"""A classifier of whole images: an encoder, and a pooled head on its last tap."""

import keras

from kerastransfer.errors import UserError
from kerastransfer.heads.classes import pooled
from kerastransfer.models.parts import feed


def classifier(
    encoder: keras.Model, num_classes: int, *, dropout: float = 0.0, name: str = "classifier"
) -> keras.Model:
    """From image (B, H, W, 3) to logits (B, num_classes). To freeze the encoder, call `models.parts.freeze` before
    `compile`.

    Raises UserError for fewer than two classes, of which nothing could be learnt.
    """
    require_classes(num_classes)
    image = keras.Input(encoder.input.shape[1:], name="image")
    last = max(encoder.output)
    head = pooled(encoder.output[last].shape[-1], num_classes, tap=last, dropout=dropout)
    return keras.Model(image, feed(head, encoder(image)), name=name)


def require_classes(number: int) -> None:
    """Raises UserError unless there are classes to tell apart."""
    if number < 2:
        raise UserError(f"a classifier needs two classes of images or more, and there is {number}; give more classes")

"""A head with one logit per class for the whole image."""

import keras


def pooled(
    features: int, num_classes: int, *, tap: str = "c5", dropout: float = 0.0, name: str = "head"
) -> keras.Model:
    """From {tap: (B, h, w, D)} to logits (B, K): the mean over all positions, dropout, and a dense layer."""
    maps = keras.Input((None, None, features), name=tap)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool")(maps)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.Model({tap: maps}, keras.layers.Dense(num_classes, dtype="float32", name="logits")(x), name=name)

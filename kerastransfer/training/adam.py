"""Keras's Adam and AdamW, some variables of which may rest."""

import keras

from kerastransfer.training.resting import Rests


@keras.saving.register_keras_serializable(package="kerastransfer")
class Adam(Rests, keras.optimizers.Adam):
    """Adam (Kingma & Ba 2015)."""


@keras.saving.register_keras_serializable(package="kerastransfer")
class AdamW(Rests, keras.optimizers.AdamW):
    """AdamW (Loshchilov & Hutter 2019)."""

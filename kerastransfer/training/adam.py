"""Keras's Adam and AdamW, extended so that some of their variables can rest."""

import keras

from kerastransfer.training.averaging import Averages
from kerastransfer.training.resting import Rests


@keras.saving.register_keras_serializable(package="kerastransfer")
class Adam(Averages, Rests, keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015)."""


@keras.saving.register_keras_serializable(package="kerastransfer")
class AdamW(Averages, Rests, keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter 2019)."""

"""Classifiers of keras.applications as encoders."""

import contextlib
import sys
import warnings
from typing import Any, Literal

import keras

from kerastransfer.models.adapter import encoder_of
from kerastransfer.presets.preset import Application


def application(preset: Application, weights: Literal["imagenet"] | None = "imagenet") -> keras.Model:
    """The encoder of a classifier of keras.applications.

    weights: "imagenet" for those that Keras downloads, or None for random ones, which takes no network. Raises Keras's
    bare Exception if the download fails.
    """
    builder = getattr(keras.applications, preset.builder)
    with warnings.catch_warnings(), contextlib.redirect_stdout(_WithoutAddress(sys.stdout)):
        # An encoder takes images of any size, which is just what Keras warns of.
        warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square", UserWarning)
        model = builder(include_top=False, input_shape=(None, None, 3), weights=weights)
    return encoder_of(model, preset.preprocessing)


class _WithoutAddress:
    """Standard output without Keras's announcement of a download: the progress bar or an error follows."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return len(text) if text.startswith("Downloading data from ") else self._out.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

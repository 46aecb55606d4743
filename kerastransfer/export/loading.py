"""Whole models in and out of .keras files, without running code that comes in a file."""

import os
import re
import zipfile
from pathlib import Path

import keras

import kerastransfer.layers  # noqa: F401  registers the layers that a file may name
from kerastransfer import files
from kerastransfer.errors import UserError


def load_keras(path: str | os.PathLike) -> keras.Model:
    """The model in a .keras file, not compiled.

    Raises UserError if there is none, if the file is damaged, or if it asks for code of its own (a Lambda layer, a
    layer that is not Keras's or ours).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of a .keras file")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not a .keras file, or cut off; save the model again with model.save('NAME.keras')")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (
        Exception
    ) as error:  # Keras lets whatever goes wrong inside pass through: ValueError, TypeError, KeyError, ...
        reason = " ".join(str(error).split()).split("Exception encountered: ")[-1]
        if "safe_mode" in reason or "unsafe" in reason:
            raise UserError(
                f"{path}: holds code of its own (such as a Lambda layer), which is never run; build the model of Keras "
                "layers and save it again"
            ) from error
        if unknown := re.search(r"Could not locate (?:class|function) '([^']+)'", reason):
            raise UserError(
                f"{path}: needs {unknown[1]!r}, which is neither Keras's nor kerastransfer's; build the model of their "
                "layers and save it again"
            ) from error
        raise UserError(f"{path}: Keras cannot load this model ({reason[:200]}); save it again") from error


def write_keras(model: keras.Model, path: str | os.PathLike) -> None:
    """Write `model` as a .keras file; a kill at any moment leaves the old file or the new one."""
    with files.replacing(path) as temporary:
        model.save(temporary)

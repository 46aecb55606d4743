"""Whole models in and out of .keras files, without running code that comes in a file."""

import os
import re
import zipfile
from pathlib import Path

import keras

from kerastransfer import files, registered
from kerastransfer.errors import UserError
from kerastransfer.models.rewrite import restored, standard


def load_keras(path: str | os.PathLike) -> keras.Model:
    """The model in a .keras file, not compiled, with this package's batch norms, which train faster than Keras's.

    Raises UserError if there is no such file, if it is damaged, or if it needs code of its own (a Lambda layer, a layer
    that belongs neither to Keras nor to this package).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of a .keras file")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not a .keras file, or cut off; save the model again with model.save('NAME.keras')")
    try:
        known = registered.OBJECTS
        return restored(keras.saving.load_model(path, known, compile=False, safe_mode=True))
    # Keras lets whatever goes wrong inside pass through: ValueError, TypeError, KeyError, ...
    except Exception as error:
        reason = " ".join(str(error).split()).split("Exception encountered: ")[-1]
        if "safe_mode" in reason or "unsafe" in reason:
            raise UserError(
                f"{path}: contains code of its own (such as a Lambda layer), which is never run; build the model of "
                "Keras layers and save it again"
            ) from error
        if unknown := re.search(r"Could not locate (?:class|function) '([^']+)'", reason):
            raise UserError(
                f"{path}: needs {unknown[1]!r}, which belongs neither to Keras nor to kerastransfer; build the model "
                "of their layers and save it again"
            ) from error
        raise UserError(f"{path}: Keras cannot load this model ({reason[:200]}); save it again") from error


def write_keras(model: keras.Model, path: str | os.PathLike) -> None:
    """Write `model` as a .keras file; a kill at any moment leaves either the old file or the new one.

    Batch norms are written as Keras's own, so that `keras.saving.load_model` opens a network of standard layers
    without this package. A network that holds other layers of ours opens after
    `import kerastransfer.registered`.
    """
    with files.replacing(path) as temporary:
        standard(model).save(temporary)

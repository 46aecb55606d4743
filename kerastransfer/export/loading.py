"""Reads and writes whole models as .keras files, without running code from a file."""

import json
import os
import re
import zipfile
from pathlib import Path

import keras

from kerastransfer import archives, files, registered
from kerastransfer.errors import UserError
from kerastransfer.models.rewrite import restored, standard

# Bytes of a description: that of a net of 500 layers has 1 MB.
LARGEST_CONFIG = 100_000_000
# Deflate makes zeros a thousand times smaller, and no weights ten times.
MOST_TIMES = 20


def load_keras(path: str | os.PathLike) -> keras.Model:
    """The model in a .keras file, not compiled, with the batch normalization layers of this package, which train faster
    than those of Keras.

    Raises UserError if the file is missing or damaged, or if it needs other code (a Lambda layer, or a layer that
    belongs neither to Keras nor to this package).
    """
    path = Path(path)
    _require_archive(path)
    try:
        _refuse_large(path)
        known = registered.OBJECTS
        return restored(keras.saving.load_model(path, known, compile=False, safe_mode=True))
    # Keras raises many types of errors here: ValueError, TypeError, KeyError, ...
    except Exception as error:
        reason = " ".join(str(error).split()).split("Exception encountered: ")[-1]
        if "safe_mode" in reason or "unsafe" in reason:
            raise UserError(
                f"{path}: contains code (such as a Lambda layer), which is never run; build the model from Keras "
                "layers and save it again"
            ) from error
        if unknown := re.search(r"Could not locate (?:class|function) '([^']+)'", reason):
            raise UserError(
                f"{path}: needs {unknown[1]!r}, which belongs neither to Keras nor to kerastransfer; build the model "
                "from their layers and save it again"
            ) from error
        raise UserError(f"{path}: Keras cannot load this model ({reason[:200]}); save it again") from error


def parts(path: str | os.PathLike) -> dict[str, dict]:
    """{name: config} of the layers of the model in a .keras file, without building it; none of a model that is not made
    of layers. Raises UserError if the file is missing or damaged."""
    path = Path(path)
    _require_archive(path)
    try:
        _refuse_large(path)
        with zipfile.ZipFile(path) as archive:
            layers = json.loads(archive.read("config.json"))["config"].get("layers", [])
        return {layer["config"]["name"]: layer["config"] for layer in layers}
    # A damaged file may fail anywhere.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: its config.json cannot be read ({reason[:200]}); save the model again") from error


def _require_archive(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of a .keras file")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not a .keras file, or truncated; save the model again with model.save('NAME.keras')")


def _refuse_large(path: Path) -> None:
    """Raises ValueError before anything is unpacked that is much larger than the file."""
    with zipfile.ZipFile(path) as archive:
        for told in archive.infolist():
            weights = told.filename.endswith(".h5")
            archives.refuse_large(
                archive, told.filename, MOST_TIMES * max(1_000_000, told.compress_size) if weights else LARGEST_CONFIG
            )


def write_keras(model: keras.Model, path: str | os.PathLike) -> None:
    """Write `model` as a .keras file, atomically.

    Batch normalization is written as Keras's own layer, so that `keras.saving.load_model` opens a network of standard
    layers without this package. A network with other layers of this package opens after
    `import kerastransfer.registered`.
    """
    with files.replacing(path) as temporary:
        standard(model).save(temporary)

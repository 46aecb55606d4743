"""Named arrays in one .npz file, readable without Keras, that appears whole or not at all."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.files import replacing


def write(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read(path: str | Path, remedy: str) -> dict[str, np.ndarray]:
    """Raises UserError, which ends in `remedy`, for a file that is missing or damaged."""
    try:
        with Path(path).open("rb") as opened:
            if not zipfile.is_zipfile(opened):
                raise ValueError("no .npz archive, or the end of one is missing")
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; {remedy}") from None
    except Exception as error:  # damaged bytes raise a different type in each layer of zip and npy
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a whole file ({reason}); {remedy}") from None

"""Named arrays in one .npz file, written atomically and readable without Keras."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerastransfer.errors import UserError
from kerastransfer.files import replacing


def write(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the file atomically: a kill leaves the old file or the new one."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read(path: str | Path, remedy: str) -> dict[str, np.ndarray]:
    """Read a file that `write` wrote. Raises UserError, ending in `remedy`, if it is missing or damaged."""
    try:
        with Path(path).open("rb") as opened:
            if not zipfile.is_zipfile(opened):
                raise ValueError("it is not an .npz archive, or its end is missing")
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {remedy}") from None
    # Damaged bytes raise a different type of error in each layer of zip and npy.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: the file is damaged ({reason}); {remedy}") from None

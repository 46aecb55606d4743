"""Atomic file writes, and JSON."""

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerastransfer.errors import DiskFullError, UserError

_NOT_WRITABLE = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to, which replaces `path` when the block ends without an error.

    A kill at any moment leaves the old file or the new one. The temporary name keeps all suffixes, because some writers
    choose their format by them. Raises UserError if the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    stem, dot, suffixes = path.name.partition(".")
    temporary = path.with_name(f".{stem}.{uuid.uuid4().hex[:8]}.tmp{dot}{suffixes}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{path}: the disk is full; free some space, then run again") from error
        if error.errno in _NOT_WRITABLE:
            raise UserError(f"{path}: cannot be written ({error.strerror}); choose another --output") from error
        raise
    finally:
        # If the folder cannot be written to, there is nothing to remove.
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` in UTF-8. What is no text, as in the name of a file from a system with another encoding, is escaped,
    which JSON reads back."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON; floats that are not finite become null, which every JSON reader accepts."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike, missing: Any = None) -> Any:
    """The value in a JSON file, or `missing` if there is no such file. Raises UserError for a damaged file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return missing
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); start the run again with --overwrite") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    # NumPy scalars and arrays.
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and value - value != 0:
        return None
    return value

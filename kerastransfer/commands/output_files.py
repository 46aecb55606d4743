"""Files that a subcommand writes."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from kerastransfer.errors import UserError


def refuse_to_replace(paths: Iterable[Path], overwrite: bool) -> None:
    """Raises UserError, before any work, if a file is there already or cannot be written."""
    paths = list(paths)
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{there[0]}{more} would be replaced; give --overwrite, or choose another --output")
    for folder in dict.fromkeys(path.parent for path in paths):
        _require_writable(folder)


def _require_writable(folder: Path) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = "it is a file" if there.is_file() else error.strerror
        raise UserError(f"{there}: nothing can be written there ({reason}); choose another --output") from error

"""Files that a subcommand writes."""

from collections.abc import Iterable
from pathlib import Path

from kerastransfer.errors import UserError


def refuse_to_replace(paths: Iterable[Path], overwrite: bool) -> None:
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{there[0]}{more} would be replaced; give --overwrite, or choose another --output")

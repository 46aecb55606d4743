"""Annotations in json: files come from elsewhere, so what is read is limited."""

import json
import reprlib
from pathlib import Path
from typing import Any

from kerastransfer.errors import UserError

# In bytes; the largest json of COCO has 0.45 GB.
LARGEST = 4_000_000_000


def content(path: Path, largest: int = LARGEST) -> Any:
    """What a json file holds. Raises UserError for one that is too large, nested too deeply, or no json."""
    try:
        size = path.stat().st_size
        if size > largest:
            raise UserError(f"{path} has {size} bytes; a json of annotations may have {largest}. Split it")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{path} is not a readable json: {reason}") from error


def shown(value: Any) -> str:
    """A value of a json as a message shows it: short, however long or deep it is."""
    return reprlib.repr(value)

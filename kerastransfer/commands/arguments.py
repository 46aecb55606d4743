"""Arguments that several subcommands take."""

from collections.abc import Mapping
from typing import Annotated, Any

import tyro

from kerastransfer.flags import flag

Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]


def repeated(chosen: Mapping[str, Any]) -> list[str]:
    """The flags, as they are written, of what was chosen of the data."""
    written = []
    for name, value in chosen.items():
        if value:
            written += [flag(name), *(value if isinstance(value, tuple) else ())]
    return written

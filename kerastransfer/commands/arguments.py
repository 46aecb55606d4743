"""Arguments that several subcommands take."""

from typing import Annotated

import tyro

Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]

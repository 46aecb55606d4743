"""Uses the docstring below a field as its description in --help.

tyro finds these docstrings too, but keeps the line breaks of the source, which do not suit the width of a terminal.
"""

import ast
import dataclasses
import inspect
import itertools
import textwrap
from typing import Annotated

import tyro


def explain(*configs: type) -> None:
    """Attach to each field of these dataclasses, and of those they extend, its docstring as one paragraph."""
    for cls in (cls for config in configs for cls in config.__mro__):
        if dataclasses.is_dataclass(cls) and "_explained" not in cls.__dict__:
            for name, text in _docstrings(cls).items():
                cls.__annotations__[name] = Annotated[cls.__annotations__[name], tyro.conf.arg(help=text)]
            cls._explained = True


def _docstrings(cls: type) -> dict[str, str]:
    """{field: the docstring below it}."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    found = {}
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found

"""Flags of the command line: their spelling, and checks of their values."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from kerastransfer.errors import UserError


def flag(name: str) -> str:
    """The spelling of a field on the command line."""
    return "--" + name.replace("_", "-")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar to `name`."""
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]


def refuse_repeated(argv: Iterable[str], names: Iterable[str]) -> None:
    """Raises UserError for a flag with several values that is given twice, whose first values would be lost."""
    given = [argument.partition("=")[0] for argument in argv]
    for name in names:
        if given.count(name) > 1:
            raise UserError(f"{name} is given {given.count(name)} times; give it once, with all values behind it")


def require_positive(settings: Any, *names: str, prefix: str = "") -> None:
    """Raises UserError unless the fields with these names are above 0 and finite. prefix: "net." for those of a net."""
    for name in names:
        if not 0 < getattr(settings, name) < float("inf"):
            raise UserError(f"{flag(prefix + name)} is {getattr(settings, name)}; it must be above 0")


def some(names: Sequence[str], most: int = 4) -> str:
    """Names in a message: all of them, or the first few and how many there are beside."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""Short names of encoders that are given as files or by name."""

from collections.abc import Sequence
from pathlib import Path


def short_names(given: Sequence[str], least: int = 1) -> dict[str, str]:
    """{short name: what was given}: of a file as much of the end of its path as tells it from the others, and `least`
    parts of it; the others as they are."""
    parts = {one: Path(one).parts if Path(one).suffix else (one,) for one in given}

    def tail(one, length):
        return "/".join(part.strip("/") for part in parts[one][-length:])

    found = {}
    for one in given:
        lengths = range(least, len(parts[one]) + 1)
        unique = (n for n in lengths if [tail(other, n) for other in given].count(tail(one, n)) == 1)
        found[tail(one, next(unique, len(parts[one])))] = one
    return found

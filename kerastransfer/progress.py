"""A progress bar."""

from collections.abc import Callable, Iterable, Sequence


def bar(description: str | None) -> Callable[[Sequence], Iterable]:
    """A function that wraps a sequence in a progress bar with this description; with None there is no bar."""
    if description is None:
        return iter
    from rich.progress import track

    return lambda items: track(items, description, total=len(items))

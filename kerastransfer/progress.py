"""A progress bar around anything that is worked through one by one."""

from collections.abc import Callable, Iterable, Sequence


def bar(description: str | None) -> Callable[[Sequence], Iterable]:
    """A function that wraps a sequence in a progress bar of this description; None shows nothing."""
    if description is None:
        return iter
    from rich.progress import track

    return lambda items: track(items, description, total=len(items))

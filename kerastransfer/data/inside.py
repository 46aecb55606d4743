"""Which files belong to a data set: annotations come from elsewhere, and may name any file of the machine."""

import contextlib
import contextvars
import os
from collections.abc import Iterator
from pathlib import Path

from kerastransfer.data.dataset import BadSampleError

REASON = "its file lies outside the folder of the data set; --allow-outside reads it anyway"

_anywhere: contextvars.ContextVar[bool] = contextvars.ContextVar("anywhere", default=False)


@contextlib.contextmanager
def outside_allowed(allowed: bool) -> Iterator[None]:
    """While the context is open, files outside the folder of a data set are read if `allowed`."""
    token = _anywhere.set(allowed)
    try:
        yield
    finally:
        _anywhere.reset(token)


def within(file: str | os.PathLike, *roots: Path) -> Path:
    """The normal path of a file that an annotation names. Raises BadSampleError if it lies under none of `roots`, by
    its name (`../`, an absolute path), unless that is allowed."""
    path = Path(os.path.normpath(file))
    if not _anywhere.get() and not any(path.is_relative_to(os.path.normpath(root)) for root in roots):
        raise BadSampleError(REASON)
    return path


def leads_out(file: Path | bytes, root: Path) -> bool:
    """Whether a file is a link to one outside `root`, and that is not allowed. A folder that is a link was put there on
    purpose, so what it holds belongs to the data set."""
    try:
        if _anywhere.get() or not isinstance(file, Path) or not file.is_symlink():
            return False
        target = file.resolve()
        return not any(target.is_relative_to(home.resolve()) for home in (root, file.parent))
    except (OSError, RuntimeError):
        # A link that leads round in a circle, or a name that no file system takes, is told of when it is read.
        return False

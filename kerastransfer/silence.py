"""Native libraries write their progress to the file descriptors; `silenced` keeps it for when it is needed."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from kerastransfer.errors import UserError


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Hold back all that is written to standard output and error, by native code too.

    It is shown if the block raises, but for a UserError, which has said what matters. For the whole process, so for one
    thread at a time.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as held:
        try:
            with _descriptors_to(held.fileno()), contextlib.redirect_stdout(held), contextlib.redirect_stderr(held):
                yield
        except UserError:
            raise
        except BaseException:
            held.seek(0)
            sys.stderr.write(held.read())
            raise


@contextlib.contextmanager
def _descriptors_to(descriptor: int) -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        for number, original in enumerate(saved, start=1):
            os.dup2(original, number)
            os.close(original)

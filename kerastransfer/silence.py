"""Holds back the output of native libraries, which write to the file descriptors, unless there is an error."""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

from kerastransfer.errors import UserError


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Hold back everything that is written to standard output and standard error, also by native code.

    It is shown if the block raises an error other than UserError, whose message is enough. This affects the whole
    process, so only one thread may use it at a time.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as held:
        try:
            with (
                _descriptors_to(held.fileno()),
                contextlib.redirect_stdout(_Stream(held, "stdout")),
                contextlib.redirect_stderr(_Stream(held, "stderr")),
            ):
                yield
        except UserError:
            raise
        except BaseException:
            held.seek(0)
            sys.stderr.write(held.read())
            raise


class _Stream(io.TextIOBase):
    """Writes to `held`, and once that is closed, to what is then sys.stdout or sys.stderr: loggers that are made in the
    meantime, such as TensorFlow's, keep the stream."""

    def __init__(self, held: TextIO, name: str):
        self._held, self._name = held, name

    def write(self, text: str) -> int:
        return (getattr(sys, self._name) if self._held.closed else self._held).write(text)

    def flush(self) -> None:
        if not self._held.closed:
            self._held.flush()


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
